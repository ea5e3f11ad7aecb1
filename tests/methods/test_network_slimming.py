"""Network slimming against numpy's order statistics and hand-written gradients."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pruning.budget import Budget
from ssbench.pruning.counting import count
from ssbench.pruning.equivalence import certify
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import select
from ssbench.pruning.surgery import compact, zeroed_parameters
from ssbench.pruning.units import Units

DENSE = count(MODELS["vgg6"](1, 10), torch.zeros(1, 1, 8, 8))
Slimming = discover().methods["network-slimming"].cls


def random_scales() -> nn.Module:
    model = MODELS["vgg6"](1, 10)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_()
    return model


def scales(model: nn.Module) -> np.ndarray:
    found = [m.weight.detach() for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return torch.cat(found).abs().numpy()


def test_scales_start_at_one_half() -> None:
    model = random_scales()
    Slimming().attach(model)
    assert (scales(model) == 0.5).all()


@pytest.mark.parametrize("pruned", [0.1, 0.4, 0.7])
def test_the_threshold_is_the_percentile_over_all_scales(pruned: float) -> None:
    model = random_scales()
    values = np.sort(scales(model))
    gone = int(pruned * len(values))
    shapes = {name: p.shape for name, p in model.named_parameters()}
    units = Units.of(structure_of(model), Slimming().scores(model), shapes)
    selection = select(units, Budget(kept="own"), DENSE, lambda _: 0.0, float(values[gone - 1]))
    assert selection.threshold == pytest.approx(float(values[gone - 1]))
    order = np.sort(units.values.numpy())
    assert (order == values).all()
    kept = sum(
        int(mask.flatten(1).any(1).sum())
        for name, mask in selection.masks.items()
        if name in units.scores
    )
    assert kept <= len(values) - gone
    assert (units.values > selection.threshold).sum() == len(values) - gone


def test_the_penalty_is_the_l1_norm_and_its_sub_gradient_the_sign() -> None:
    model = random_scales()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        norms[0].weight[0] = 0.0
    penalty = Slimming(lambda_=0.03).penalty(model)
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(
        0.03 * float(np.abs(scales(model)).sum()), rel=1e-5
    )
    penalty.backward()
    for norm in norms:
        torch.testing.assert_close(norm.weight.grad, 0.03 * norm.weight.detach().sign())


def test_a_network_without_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="batch norm"):
        Slimming().attach(MODELS["lenet5"](1, 10))


class PreActivation(nn.Module):
    """Batch norm before each convolution, as in ResNet-164: two blocks with a shortcut each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in (8, 4, 8, 4, 8))
        widths = ((8, 4), (4, 8), (8, 4), (4, 8))
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in widths)
        self.head = nn.Linear(8, 5)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = self.stem(maps)
        for first in (0, 2):
            branch = self.convs[first](torch.relu(self.norms[first](maps)))
            branch = self.convs[first + 1](torch.relu(self.norms[first + 1](branch)))
            maps = maps + branch
        maps = torch.relu(self.norms[4](maps))
        result: torch.Tensor = self.head(maps.mean((2, 3)))
        return result


def networks() -> dict[str, tuple[nn.Module, tuple[int, int, int]]]:
    return {
        "vgg6": (MODELS["vgg6"](1, 10), (1, 8, 8)),
        "densenet40": (MODELS["densenet40"](3, 10), (3, 16, 16)),
        "pre-activation": (PreActivation(), (3, 8, 8)),
    }


@pytest.mark.parametrize("name", ["vgg6", "densenet40", "pre-activation"])
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_pruning_is_setting_the_smallest_scales_of_the_whole_network_to_zero(
    name: str, share: float
) -> None:
    """The paper's definition, carried out on the batch norms themselves."""
    model, shape = networks()[name]
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.normal_()
            norm.bias.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    every = np.sort(scales(model))
    threshold = float(every[int(share * len(every))])
    shapes = {key: p.shape for key, p in model.named_parameters()}
    units = Units.of(structure_of(model), Slimming().scores(model), shapes)
    assert np.array_equal(np.sort(units.values.numpy()), every)
    dense = count(model, torch.zeros(1, *shape))
    found = select(units, Budget(kept="own"), dense, lambda _: 0.0, threshold)
    assert found.threshold == threshold

    paper, ours = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        for module in paper.modules():
            if isinstance(module, nn.BatchNorm2d):
                dead = module.weight.abs() <= threshold
                module.weight[dead] = 0.0
                module.bias[dead] = 0.0
        for key, mask in zeroed_parameters(structure_of(ours), ours, found.masks).items():
            ours.get_parameter(key).mul_(mask)
        images = torch.randn(4, *shape)
        torch.testing.assert_close(ours(images), paper(images), rtol=1e-4, atol=1e-5)
    small = compact(ours, structure_of(ours), found.masks)
    assert certify(ours, small, images) < 1e-10


def test_a_cap_leaves_half_of_every_layer() -> None:
    model = random_scales()
    with torch.no_grad():
        model.features[8].weight.mul_(1e-4)  # the global threshold would take all of this layer
    shapes = {name: p.shape for name, p in model.named_parameters()}
    units = Units.of(structure_of(model), Slimming().scores(model), shapes)

    def gone(protection: float) -> list[float]:
        budget = Budget(unit="params", kept=0.3, protection=protection)
        found = select(units, budget, DENSE, lambda _: 0.0, None)
        masks = [found.masks[name].flatten(1).any(1) for name in units.scores]
        assert found.protected == (1 if protection else 0)
        return [1 - float(mask.float().mean()) for mask in masks]

    assert max(gone(0.0)) == 1.0
    assert max(gone(0.5)) <= 0.5


def test_a_convolution_in_groups_is_scored_by_the_norm_behind_it() -> None:
    """In a pre-activation block: a score for each channel read would fit no such weight."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    found = Slimming().scores(model)
    assert {name: tuple(score.shape) for name, score in found.items()} == {
        "4.weight": (8, 1, 1, 1),
    }
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    Units.of(structure_of(model), found, shapes)
