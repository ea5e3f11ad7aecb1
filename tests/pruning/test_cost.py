"""The price of every threshold against masks that are made and counted one by one."""

import pytest
import torch
from torch import Tensor, nn

from ssbench.method.contract import prunable_weights, to_grain
from ssbench.models.registry import MODELS
from ssbench.pruning.budget import Budget
from ssbench.pruning.cost import price
from ssbench.pruning.counting import count
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import select
from ssbench.pruning.sizes import make_share
from ssbench.pruning.units import Units

NETWORKS = {"vgg6": (1, 8), "lenet5": (1, 28), "resnet20": (3, 16), "mobilenet": (3, 32),
            "densenet40": (3, 16)}  # fmt: skip


def units_of(model: nn.Module, grain: str, seed: int = 0) -> Units:
    generator = torch.Generator().manual_seed(seed)
    scores = {
        name: torch.rand(to_grain(weight, grain).shape, generator=generator)
        for name, weight in prunable_weights(model).items()
    }
    shapes = {name: p.shape for name, p in model.named_parameters()}
    return Units.of(structure_of(model), scores, shapes)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("grain", ["weight", "connection", "filter"])
@pytest.mark.parametrize("unit", ["connections", "params", "macs"])
def test_price_and_count_agree_at_every_threshold(name: str, grain: str, unit: str) -> None:
    channels, size = NETWORKS[name]
    model = MODELS[name](channels, 10)
    dense = count(model, torch.zeros(1, channels, size, size))
    units = units_of(model, grain)
    share = make_share(Budget(unit=unit), model, dense)
    cost = price(units, units.scores, unit, dense)
    for threshold in (0.1, 0.5, 0.9, 0.99, 0.9999):
        kept = {name: score > threshold for name, score in units.own.items()}
        priced = cost.constant + sum(int((v > threshold).sum()) * each for v, each in cost.entries)
        assert priced / cost.whole == share(units.masks(kept)), threshold


@pytest.mark.parametrize("name", ["vgg6", "densenet40"])
@pytest.mark.parametrize("unit", ["connections", "params", "macs"])
def test_price_and_count_agree_where_channels_that_are_read_are_pruned(
    name: str, unit: str
) -> None:
    """What nobody reads any more goes as well, back to where it was made."""
    channels, size = NETWORKS[name]
    model = MODELS[name](channels, 10)
    dense = count(model, torch.zeros(1, channels, size, size))
    scores = {}
    for layer in structure_of(model).layers[1:]:
        dims = model.get_parameter(layer.weight).dim()
        scores[layer.weight] = torch.rand(1, layer.inputs, *(1,) * (dims - 2))
    shapes = {key: p.shape for key, p in model.named_parameters()}
    units = Units.of(structure_of(model), scores, shapes)
    share = make_share(Budget(unit=unit), model, dense)
    cost = price(units, units.scores, unit, dense)
    for threshold in (0.1, 0.5, 0.9, 0.99):
        kept = {key: score > threshold for key, score in units.own.items()}
        priced = cost.constant + sum(int((v > threshold).sum()) * each for v, each in cost.entries)
        assert priced / cost.whole == share(units.masks(kept)), threshold


class Shortcut(nn.Module):
    """A stem, a branch added to it, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.branch = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.free = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.branch(x))
        result: Tensor = self.head(torch.relu(self.free(x)).mean((2, 3)))
        return result


def test_filters_tied_by_a_shortcut_are_one_unit_worth_the_mean_of_their_scores() -> None:
    model = Shortcut()
    first, second = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([0.0, 0.0, 6.0, 0.5])
    scores = {
        "stem.weight": first.reshape(4, 1, 1, 1),
        "branch.weight": second.reshape(4, 1, 1, 1),
        "free.weight": torch.full((6, 1, 1, 1), 1.9),
    }
    shapes = {name: p.shape for name, p in model.named_parameters()}
    units = Units.of(structure_of(model), scores, shapes)
    assert units.scores["stem.weight"].flatten().tolist() == [2.0, 1.5, 4.0, 0.75]
    assert units.scores["branch.weight"].flatten().tolist() == [2.0, 1.5, 4.0, 0.75]
    assert units.values.tolist() == [2.0, 1.5, 4.0, 0.75, *[pytest.approx(1.9)] * 6]
    dense = count(model, torch.zeros(1, 3, 4, 4))
    budget = Budget(kept="own")
    found = select(units, budget, dense, make_share(budget, model, dense), 1.8)
    for name in ("stem", "branch"):
        alive = found.masks[f"{name}.weight"].flatten(1).any(1)
        assert alive.tolist() == [True, False, True, False]


def test_connections_of_tied_layers_are_scored_apart() -> None:
    model = Shortcut()
    units = units_of(model, "connection")
    assert units.leaders == {name: name for name in units.scores}
    assert units.values.numel() == 3 * 4 + 4 * 4 + 4 * 6


@pytest.mark.parametrize("name", ["resnet20", "mobilenet"])
@pytest.mark.parametrize("kept", [0.5, 0.1])
def test_what_filter_masks_keep_is_what_surgery_leaves(name: str, kept: float) -> None:
    """Pooled over tied layers, no filter is masked that surgery could not remove."""
    channels, size = NETWORKS[name]
    model = MODELS[name](channels, 10)
    dense = count(model, torch.zeros(1, channels, size, size))
    units, budget = units_of(model, "filter"), Budget(unit="params", kept=kept)
    found = select(units, budget, dense, make_share(budget, model, dense), None)
    for leader, score in units.own.items():
        members = [n for n, first in units.leaders.items() if first == leader]
        alive = [found.masks[n].flatten(1).any(1) for n in members]
        if score.shape[0] == alive[0].numel():
            assert all(torch.equal(alive[0], other) for other in alive[1:])
    assert found.reached == pytest.approx(kept, rel=0.02)
