"""Every method on every network: two steps, pruned, taken out, counted, finetuned; or refused."""

from contextlib import nullcontext

import pytest
import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.method.registry import discover
from ssbench.models.registry import IMAGENET, MODELS
from ssbench.pipeline.stages import Record, carry_out
from ssbench.pipeline.state import Tensors
from ssbench.pipeline.workbench import Workbench

REGISTRY = discover()
BIG = (
    "vgg16", "vgg19", "resnet18", "resnet56", "resnet110", "resnet164", "wrn28-10",
    "resnet18-imagenet", "resnet34-imagenet", "resnet50",
)  # fmt: skip
FOUR = ("magnitude", "network-slimming", "l0", "synaptic-strength")
SIZES = {"vgg6": 8, "lenet5": 28} | dict.fromkeys(IMAGENET, 64)
CHANNELS = {"vgg6": 1, "lenet5": 1}
REFUSED = {("network-slimming", "lenet5"): "needs batch norms"}
LAYERWISE = {("taylor", "efficientnet-b0")}
"""After two steps, in eval mode, gradients of the first layers are a millionth of the last's: one
threshold takes the first layers whole, and all behind them, at once."""


def _marks(method: str, model: str) -> list[pytest.MarkDecorator]:
    """All methods on all small networks at every run of the tests, the first four on more."""
    if model in BIG or (model in ("densenet40", *IMAGENET) and method not in FOUR):
        return [pytest.mark.slow, pytest.mark.exhaustive]
    return [pytest.mark.slow] if model in ("densenet40", *IMAGENET) else []


CASES = [
    pytest.param(method, model, marks=_marks(method, model))
    for model in (*MODELS, *IMAGENET)
    for method in REGISTRY.methods
]


def images(count: int, model: str) -> Split:
    generator = torch.Generator().manual_seed(count)
    size = SIZES.get(model, 16)
    shape = (count, CHANNELS.get(model, 3), size, size)
    drawn = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Split(drawn, torch.arange(count) % 4)


@pytest.mark.parametrize(("method", "model"), CASES)
def test_a_method_on_a_network(method: str, model: str) -> None:
    dataset = DataSet("noise", 4, images(16, model), images(8, model), images(8, model))
    recipe = {"epochs": 1, "batch_size": 8, "lr": 0.01}
    scope = "layerwise" if (method, model) in LAYERWISE else "global"
    experiment = Experiment.model_validate(
        {
            "name": "matrix",
            "dataset": "noise",
            "models": [model],
            "methods": [{"name": method}],
            "budget": {"kept": 0.5, "scope": scope, "protection": 0.0},
            "seeds": [0],
            "train": recipe,
            "finetune": recipe,
        }
    )
    (run,) = plan(experiment, REGISTRY, dataset.fingerprint, "matrix")
    workbench = Workbench(dataset, torch.device("cpu"))
    tensors: Tensors = {}
    records: list[Record] = []
    reason = REFUSED.get((method, model))
    with pytest.raises(ValueError, match=reason) if reason else nullcontext():
        for stage in run.stages:
            tensors, record = carry_out(stage, workbench, tensors, lambda _: None)
            records.append(record)
    if reason:
        return
    if run.budget is None:
        assert records[-1]["params_nonzero"] == records[-1]["params_dense"]
        return
    pruned = next(record for record in records if "budget_reached" in record)
    assert pruned["budget_reached"] == pytest.approx(0.5, abs=0.05)
    assert pruned["macs_nonzero"] < pruned["macs_dense"]
    assert pruned["macs_compact"] <= pruned["macs_dense"]
    for record in (pruned, records[-1]):
        assert record["surgery_difference"] <= 1e-5
    assert 0 <= records[-1]["test_top1_error"] <= 100
