"""Selection against brute force, and its properties on random scores."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssbench.errors import RunFailedError
from ssbench.method.contract import prunable_weights, to_grain
from ssbench.models.registry import MODELS
from ssbench.pruning.budget import Budget
from ssbench.pruning.counting import count
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import Selection, order, select
from ssbench.pruning.sizes import make_share
from ssbench.pruning.units import Units

MODEL = MODELS["vgg6"](1, 10)
SHAPES = {name: p.shape for name, p in MODEL.named_parameters()}
DENSE = count(MODEL, torch.zeros(1, 1, 8, 8))


def scores(grain: str, seed: int = 0, levels: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, weight in prunable_weights(MODEL).items():
        shape = to_grain(weight, grain).shape
        drawn = torch.rand(shape, generator=generator)
        found[name] = (drawn * levels).floor() if levels else drawn
    return found


def units(grain: str, seed: int = 0, levels: int = 0) -> Units:
    return Units.of(structure_of(MODEL), scores(grain, seed, levels), SHAPES)


def by_leader(made: Units, chosen: Tensor) -> dict[str, Tensor]:
    """A choice of units [units] in the shapes of their scores."""
    parts = torch.split(chosen, [score.numel() for score in made.own.values()])
    return {n: p.reshape(s.shape) for p, (n, s) in zip(parts, made.own.items(), strict=True)}


def cut(made: Units, **budget: object) -> Selection:
    asked = Budget(**budget)
    return select(made, asked, DENSE, make_share(asked, MODEL, DENSE), None)


@pytest.mark.parametrize("grain", ["weight", "connection"])
@pytest.mark.parametrize("kept", [0.5, 0.1, 0.02])
def test_global_selection_keeps_the_highest_scores(grain: str, kept: float) -> None:
    made = units(grain)
    found = cut(made, kept=kept)
    every = made.values
    flat = torch.cat([found.masks[n].reshape(made.shapes[n]).flatten() for n in made.scores])
    spread = torch.cat([s.expand(made.shapes[n]).flatten() for n, s in made.scores.items()])
    assert found.threshold is not None
    assert torch.equal(flat, spread > found.threshold)
    if grain == "connection":
        expected = every.sort(descending=True).values[round(kept * len(every)) - 1]
        assert float(spread[flat].min()) == float(expected)


@pytest.mark.parametrize("unit", ["connections", "params", "macs"])
@pytest.mark.parametrize("grain", ["weight", "connection"])
@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_budgets_are_met_within_half_a_percent(unit: str, grain: str, scope: str) -> None:
    made = units(grain)
    for kept in (0.5, 0.25, 0.1, 0.05):
        found = cut(made, unit=unit, kept=kept, scope=scope)
        slack = 0.005 if scope == "global" else 0.02  # a layer of 32 kernels cannot do better
        assert found.reached == pytest.approx(kept, rel=slack)


@pytest.mark.parametrize("unit", ["connections", "params", "macs"])
def test_filter_budgets_take_the_nearest_of_all_cuts(unit: str) -> None:
    made = units("filter")
    share = make_share(Budget(unit=unit), MODEL, DENSE)
    order = made.values.sort(descending=True).indices
    shares = []
    for k in range(1, len(order) + 1):
        chosen = torch.zeros(len(order), dtype=torch.bool)
        chosen[order[:k]] = True
        shares.append(share(made.masks(by_leader(made, chosen))))
    assert shares == sorted(shares)
    for asked in (0.5, 0.2, 0.1):
        best = min(abs(value - asked) for value in shares)
        assert abs(cut(made, unit=unit, kept=asked).reached - asked) == pytest.approx(best)


def test_layerwise_keeps_the_share_of_every_layer() -> None:
    made = units("connection")
    found = cut(made, kept=0.25, scope="layerwise")
    for name, score in made.scores.items():
        left = int(found.masks[name].flatten(2).any(2).sum())
        assert left == pytest.approx(0.25 * score.numel(), abs=1)


def test_ties_are_broken_by_position_and_always_alike() -> None:
    made = units("connection", levels=3)
    first, second = cut(made, kept=0.3), cut(units("connection", levels=3), kept=0.3)
    for name in first.masks:
        assert torch.equal(first.masks[name], second.masks[name])
    assert first.reached == pytest.approx(0.3, rel=0.005)


@pytest.mark.parametrize("grain", ["weight", "connection"])
def test_of_equal_units_the_first_layers_and_positions_stay(grain: str) -> None:
    equal = {name: torch.full_like(score, 0.5) for name, score in scores(grain).items()}
    equal["features.17.weight"][3, 2] = 0.9  # better ones stay wherever they are
    made = Units.of(structure_of(MODEL), equal, SHAPES)
    found = cut(made, unit="params", kept=0.3)
    kept = torch.cat(
        [
            found.masks[n].expand(s.shape).flatten()
            if grain == "weight"
            else found.masks[n].flatten(2).any(2).flatten()
            for n, s in made.own.items()
        ]
    )
    first = made.values > 0.5
    boundary = int((kept & ~first).nonzero().max())
    assert kept[: boundary + 1].all()
    assert int(kept[boundary + 1 :].sum()) == int(first[boundary + 1 :].sum()) > 0
    assert found.reached == pytest.approx(0.3, rel=0.005)


@pytest.mark.parametrize("protection", [0.0501, 0.31])
def test_where_the_floor_acts_exactly_the_best_units_stay(protection: float) -> None:
    made = units("connection")
    kept = cut(made, kept=0.001, protection=protection)
    for name, score in made.own.items():
        count_ = math.ceil(protection * score.numel())
        best = score.flatten().topk(count_).indices
        left = kept.masks[name].flatten(2).any(2).flatten()
        assert int(left.sum()) == count_
        assert left[best].all()


def test_protection_keeps_a_floor_in_every_layer_and_counts_where_it_acted() -> None:
    made = units("connection")
    made.scores["features.7.weight"].mul_(1e-6)
    free = cut(made, kept=0.1)
    assert int(free.masks["features.7.weight"].sum()) == 0
    assert free.protected == 0
    kept = cut(made, kept=0.1, protection=0.05)
    for name, score in made.scores.items():
        left = int(kept.masks[name].flatten(2).any(2).sum())
        assert left >= math.floor(0.05 * score.numel())
    assert kept.protected == 1
    assert kept.reached == pytest.approx(0.1, rel=0.005)


def test_the_methods_own_threshold_keeps_what_lies_above_it() -> None:
    made = units("filter")
    found = select(made, Budget(kept="own"), DENSE, lambda _: 0.5, 0.4)
    assert found.threshold == float(made.values[made.values <= 0.4].max())
    with pytest.raises(RunFailedError, match="no threshold"):
        select(made, Budget(kept="own"), DENSE, lambda _: 0.5, None)


@pytest.mark.parametrize("grain", ["weight", "connection", "filter"])
@pytest.mark.parametrize("unit", ["connections", "params", "macs"])
def test_keeping_everything_changes_nothing(grain: str, unit: str) -> None:
    found = cut(units(grain), unit=unit, kept=1.0)
    assert all(mask.all() for mask in found.masks.values())
    assert (found.reached, found.threshold) == (1.0, None)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    shares=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4, unique=True),
    grain=st.sampled_from(["weight", "connection", "filter"]),
    levels=st.sampled_from([0, 2, 50]),
    unit=st.sampled_from(["connections", "params", "macs"]),
    scope=st.sampled_from(["global", "layerwise"]),
)
def test_more_asked_is_more_kept_and_masks_are_nested(
    seed: int, shares: list[float], grain: str, levels: int, unit: str, scope: str
) -> None:
    made = units(grain, seed, levels)
    found = [cut(made, kept=share, unit=unit, scope=scope) for share in sorted(shares)]
    for smaller, larger in itertools.pairwise(found):
        assert smaller.reached <= larger.reached
        for name, mask in smaller.masks.items():
            assert not (mask & ~larger.masks[name]).any()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"nowhere.weight": torch.ones(1)}, "not the weight of a convolution or linear layer"),
        ({"features.0.weight": torch.ones(3, 1, 1, 1)}, "does not broadcast"),
        ({"features.0.weight": torch.full((32, 1, 1, 1), math.nan)}, "contain NaN"),
        ({"classifier.weight": torch.ones(10, 1)}, "outputs of the network"),
    ],
)
def test_wrong_scores_are_refused(made: dict[str, Tensor], message: str) -> None:
    with pytest.raises(RunFailedError, match=message):
        Units.of(structure_of(MODEL), made, SHAPES)


def test_pruned_filters_take_the_kernels_that_read_them_along() -> None:
    made = units("filter")
    found = cut(made, unit="params", kept=0.3)
    before: Tensor | None = None
    for index in (0, 3, 7, 10, 14, 17):
        mask = found.masks[f"features.{index}.weight"].flatten(2).any(2)
        if before is not None:
            assert not mask[:, ~before].any()
        before = mask.any(1)
    assert before is not None
    assert not found.masks["classifier.weight"][:, ~before].any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1))
def test_units_are_ordered_as_a_stable_sort_orders_them(values: list[float]) -> None:
    scores = torch.tensor([*values, *values, -0.0, 0.0])
    expected = torch.sort(scores, descending=True, stable=True).indices
    assert order(scores).tolist() == expected.tolist()


class Residual(nn.Module):
    """A shortcut around one convolution: a channel is silent only if both ways are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = self.c(torch.relu(x + self.b(x)))
        result: Tensor = self.head(x.mean((2, 3)))
        return result


def test_silence_passes_a_sum_only_where_both_ways_are_silent() -> None:
    structure = structure_of(Residual())
    masks = {f"{n}.weight": torch.ones(4, 4, 3, 3, dtype=torch.bool) for n in "abc"}
    masks["a.weight"][:2] = False
    masks["b.weight"][1:3] = False
    flow = structure.flow(masks)
    assert flow.read["b"].tolist() == [False, False, True, True]
    assert flow.read["c"].tolist() == [True, False, True, True]
    assert flow.emitted["b"].tolist() == [True, False, False, True]
