"""Every method on every network: two steps, pruned, taken out, counted, finetuned; or refused."""

import pytest
import torch

from ssbench.data import DataSet, Split
from ssbench.experiment import Experiment
from ssbench.models import MODELS
from ssbench.pipeline import carry_out
from ssbench.plan import plan
from ssbench.registry import discover
from ssbench.workbench import Bench

REGISTRY = discover()
BIG = ("vgg16", "vgg19", "resnet18", "resnet56", "resnet110", "resnet164", "wrn28-10")
SIZES = {"vgg6": 8, "lenet5": 28}
CHANNELS = {"vgg6": 1, "lenet5": 1}
REFUSED = {("network-slimming", "lenet5"): "needs batch norms"}
MARKS = dict.fromkeys(BIG, [pytest.mark.slow, pytest.mark.exhaustive]) | {
    "densenet40": [pytest.mark.slow]
}
CASES = [
    pytest.param(method, model, marks=MARKS.get(model, []))
    for model in MODELS
    for method in REGISTRY.methods
]


def images(count: int, model: str) -> Split:
    generator = torch.Generator().manual_seed(count)
    shape = (count, CHANNELS.get(model, 3), SIZES.get(model, 16), SIZES.get(model, 16))
    drawn = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Split(drawn, torch.arange(count) % 4)


@pytest.mark.parametrize(("method", "model"), CASES)
def test_a_method_on_a_network(method: str, model: str) -> None:
    dataset = DataSet("noise", 4, images(16, model), images(8, model), images(8, model))
    recipe = {"epochs": 1, "batch_size": 8, "lr": 0.01}
    experiment = Experiment.model_validate(
        {
            "name": "matrix",
            "dataset": "noise",
            "models": [model],
            "methods": [{"name": method}],
            "budget": {"kept": 0.5},
            "seeds": [0],
            "train": recipe,
            "finetune": recipe,
        }
    )
    (run,) = plan(experiment, REGISTRY, dataset.fingerprint, "matrix")
    bench = Bench(dataset, torch.device("cpu"))
    tensors, records = {}, []
    try:
        for stage in run.stages:
            tensors, record = carry_out(stage, bench, tensors, lambda _: None)
            records.append(record)
    except ValueError as error:
        assert REFUSED[method, model] in str(error)
        return
    assert (method, model) not in REFUSED
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
