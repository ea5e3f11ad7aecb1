"""Taylor pruning against finite differences of the loss."""

import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from ssbench.data.digits import digits
from ssbench.experiment.stage import Stage
from ssbench.method.registry import discover
from ssbench.models.architecture import Architecture
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.training.recipe import Recipe
from tests.methods.nets import Tiny, data

Taylor = discover().methods["taylor"].cls


def with_norm() -> nn.Module:
    """Such a network as the paper prunes, its gate standing behind the batch norm."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(12, 3),
    ).double().eval()  # fmt: skip
    for parameter in model[1].parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    model[1].running_mean.uniform_(-0.5, 0.5)
    return model


@pytest.mark.parametrize(
    ("model", "name", "gated"),
    [
        (with_norm(), "0.weight", ("1.weight", "1.bias")),
        (Tiny().double().eval(), "conv.weight", ("conv.weight", "conv.bias")),
    ],
)
def test_a_filter_is_worth_its_gates_squared_derivative_averaged_over_batches(
    model: nn.Module, name: str, gated: tuple[str, str]
) -> None:
    """By differences: a gate multiplies all that the map is a linear function of."""
    images, labels = data()
    parts = list(zip(images.double().split(10), labels.split(10), strict=True))
    found = Taylor(minibatches=2).scores(model, batches=lambda: parts)
    assert found[name].shape == (3, 1, 1, 1)
    step = 1e-5
    for number in range(3):
        changes = []
        for some, classes in parts[:2]:
            ends = []
            for sign in (1, -1):
                changed = copy.deepcopy(model)
                for parameter in gated:
                    changed.get_parameter(parameter).data[number] *= 1 + sign * step
                ends.append(float(F.cross_entropy(changed(some), classes).detach()))
            changes.append(((ends[0] - ends[1]) / (2 * step)) ** 2)
        expected = sum(changes) / 2
        assert float(found[name][number]) == pytest.approx(expected, rel=1e-5, abs=1e-15)


def test_the_weight_criterion_is_the_sum_of_squares_and_not_the_square_of_the_sum() -> None:
    """Method 0 of the authors' code: (w * dL/dw)^2, added up over the filter."""
    model = with_norm()
    images, labels = data()
    parts = list(zip(images.double().split(10), labels.split(10), strict=True))
    found = Taylor(criterion="weight", minibatches=3).scores(model, batches=lambda: parts)
    total = torch.zeros(3, dtype=torch.double)
    for some, classes in parts:
        weight = model[0].weight
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(some), classes), [weight])
        total += (weight * gradient).detach().square().sum((1, 2, 3)) / 3
    torch.testing.assert_close(found["0.weight"].flatten(), total)
    gates = Taylor(minibatches=3).scores(model, batches=lambda: parts)
    assert not torch.allclose(gates["0.weight"], found["0.weight"])


def test_a_gate_behind_the_batch_norm_ranks_filters_by_their_true_worth() -> None:
    """Rank correlation with the true change of the loss, on a network trained on digits."""
    workbench = Workbench(digits(), torch.device("cpu"))
    recipe = Recipe(epochs=4, lr=0.1, schedule="one-cycle")
    stage = Stage("train", "id", None, "digits", "vgg6", 0, None, Architecture("vgg6"), recipe)
    model = workbench.model("vgg6", 0)
    model.load_state_dict(carry_out(stage, workbench, {}, lambda _: None)[0])
    model.eval()
    images, labels = next(workbench.loader(workbench.train, 200).in_order())
    batches = list(zip(images.split(50), labels.split(50), strict=True))
    with torch.no_grad():
        true = torch.cat([_losses(model, layer, images, labels) for layer in LAYERS])
        true = (true - F.cross_entropy(model(images), labels)).abs()
    worth = {}
    for criterion in ("gate", "weight"):
        found = Taylor(criterion=criterion).scores(model, batches=lambda: batches)
        scores = torch.cat([found[f"features.{layer}.weight"].flatten()[::4] for layer in LAYERS])
        worth[criterion] = float(spearmanr(scores, true).statistic)
    assert worth["gate"] > worth["weight"]
    assert worth["gate"] > 0.7


LAYERS = (0, 3, 7, 10, 14, 17)
"""Of vgg6's convolutions; a batch norm stands behind each."""


def _losses(model: nn.Module, layer: int, images: Tensor, labels: Tensor) -> Tensor:
    """The loss without every fourth of a layer's filters [out / 4]."""
    norm, found = model.features[layer + 1], []
    for number in range(0, len(norm.weight), 4):
        kept = norm.weight[number].clone(), norm.bias[number].clone()
        norm.weight[number] = norm.bias[number] = 0
        found.append(F.cross_entropy(model(images), labels))
        norm.weight[number], norm.bias[number] = kept
    return torch.stack(found)


def test_without_images_it_says_so() -> None:
    with pytest.raises(ValueError, match="needs training images"):
        Taylor().scores(Tiny())


@pytest.mark.parametrize("grain", ["weight", "connection", "filter"])
def test_grains(grain: str) -> None:
    images, labels = data()
    found = Taylor(grain=grain).scores(Tiny(), batches=lambda: [(images, labels)])
    shapes = {"weight": (3, 2, 3, 3), "connection": (3, 2, 1, 1), "filter": (3, 1, 1, 1)}
    assert found["conv.weight"].shape == shapes[grain]
    assert all((score >= 0).all() and torch.isfinite(score).all() for score in found.values())
