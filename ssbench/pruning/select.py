"""Choose the units to keep: cut the order of scores where it meets the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.pruning.budget import Budget
from ssbench.pruning.cost import price
from ssbench.pruning.counting import Counts
from ssbench.pruning.cuts import Cut, sizes
from ssbench.pruning.histogram import histogram
from ssbench.pruning.threshold import crossing
from ssbench.pruning.units import Kept, Units

Share = Callable[[Mapping[str, Tensor]], float]
"""Returns the share of the budget's unit that a set of masks leaves."""
Levels = dict[str, Tensor]


@dataclass(frozen=True)
class Selection:
    """Masks by weight name, in the weights' shapes (True: kept), with facts about the choice.

    Attributes:
        reached: the kept share of the budget's unit, counted on the masks, or, for whole filters,
            on the network after surgery.
        threshold: the largest score among the pruned units; None if no unit was pruned.
        protected: the number of layers that kept units only because of the protection.
        scores: the histogram of all units' scores, see `ssbench.pruning.histogram`.
        units: all units.
    """

    masks: dict[str, Tensor]
    reached: float
    threshold: float | None
    protected: int
    scores: dict[str, Any] = field(default_factory=dict)
    units: Units | None = field(default=None, repr=False)


def select(
    units: Units, budget: Budget, dense: Counts, share: Share, own: float | None
) -> Selection:
    """Keep the best units, as close to the budget as the grain allows.

    Equal scores keep the order of layers and positions, so the same scores always give the same
    masks. Of the two cuts next to the budget the nearer one wins; if both are equally near, the
    smaller network. At least one unit stays.

    Args:
        units: the scored units.
        budget: the share to keep.
        dense: the counts of the dense network.
        share: measures a set of masks in the budget's unit; for whole filters the network after
            surgery is measured instead.
        own: the method's own threshold, for the budget "own".

    Raises:
        RunFailedError: the budget is "own" and the method has no threshold.
    """

    def keep(levels: Levels) -> Kept:
        if budget.kept == "own":
            if own is None:
                raise RunFailedError("the budget is the method's own, but it has no threshold")
            return {name: score > own for name, score in units.own.items()}
        chosen = _cut(units, levels, budget.kept, budget, dense)
        return after_surgery(units, levels, chosen, budget, dense)

    levels = _ranked(units.own) if budget.scope == "layerwise" else dict(units.own)
    protected = 0
    if budget.protection:
        free = keep(levels)
        safe = {name: _best(s, _floor(s, budget)) for name, s in units.own.items()}
        protected = sum(int(free[n].sum()) < _floor(s, budget) for n, s in units.own.items())
        raised = {n: level.masked_fill(safe[n], math.inf) for n, level in levels.items()}
        kept: Kept = {name: chosen | safe[name] for name, chosen in keep(raised).items()}
    else:
        kept = keep(levels)
    masks = {name: mask.clone() for name, mask in units.masks(kept).items()}
    scores = histogram(units.values)
    reached = left(units, masks, budget, dense) if units.whole_filters else share(masks)
    return Selection(masks, reached, _threshold(units, kept), protected, scores, units)


def least_share(units: Units, budget: Budget, dense: Counts, share: Share) -> float:
    """Return the smallest reachable share: one unit stays, or one in every layer."""
    largest = max(units.own, key=lambda name: units.own[name].numel())
    kept = {}
    for name, score in units.own.items():
        kept[name] = torch.zeros(score.shape, dtype=torch.bool)
        if budget.scope == "layerwise" or name == largest:
            kept[name].reshape(-1)[0] = True
    masks = units.masks(kept)
    return left(units, masks, budget, dense) if units.whole_filters else share(masks)


def left(units: Units, masks: Mapping[str, Tensor], budget: Budget, dense: Counts) -> float:
    """Return the share of the budget's unit that remains after surgery with these masks."""
    return _share(units, units.cut(masks), budget, dense)


def _share(units: Units, cut: Cut, budget: Budget, dense: Counts) -> float:
    after: int = getattr(sizes(cut, dense, units.shapes), budget.unit)
    whole: int = getattr(dense, budget.unit)
    return after / whole


def after_surgery(
    units: Units, levels: Levels, chosen: Kept, budget: Budget, dense: Counts
) -> Kept:
    """Move a cut to where the network after surgery meets the budget.

    Surgery leaves exactly the chosen units unless there are groups, or operations that need all
    channels; so mostly ``chosen`` is right. If not, bisect the number of units.
    """
    assert budget.kept != "own"
    if not units.whole_filters or units.goes_alone(chosen):
        return chosen
    flat = torch.cat([level.reshape(-1).double() for level in levels.values()])
    places = flat.argsort(descending=True, stable=True)
    fewest = max(int((flat == math.inf).sum()), 1)

    def best(count: int) -> Kept:
        kept = torch.zeros(flat.numel(), dtype=torch.bool)
        kept[places[:count]] = True
        parts = torch.split(kept, [level.numel() for level in levels.values()])
        return {n: p.reshape(levels[n].shape) for n, p in zip(levels, parts, strict=True)}

    def share(count: int) -> float:
        return _share(units, units.left_of(best(count)), budget, dense)

    low, high = fewest, flat.numel()
    while low < high:  # most units within the budget, or the fewest possible
        middle = (low + high + 1) // 2
        low, high = (middle, high) if share(middle) <= budget.kept else (low, middle - 1)
    more = min(low + 1, flat.numel())
    nearer = abs(share(more) - budget.kept) < abs(share(low) - budget.kept)
    return best(more if nearer else low)


def _cut(units: Units, levels: Levels, kept: float, budget: Budget, dense: Counts) -> Kept:
    """Keep the units above the level that meets the budget."""
    cost = price(units, _spread(units, levels), budget.unit, dense)
    target = kept * cost.whole
    amount = target - cost.constant
    total = sum(level.numel() * each for level, each in cost.entries)
    if total <= amount:
        return _all(levels)
    at = crossing(cost.entries, max(amount, 0.0))
    if at.level == math.inf:  # the fixed part exceeds the budget: take the least more
        if total == at.reaching:
            return _all(levels)
        at = crossing(cost.entries, at.reaching)
    over = {name: level > at.level for name, level in levels.items()}
    ties = {name: level == at.level for name, level in levels.items()}
    if sum(int(tie.count_nonzero()) for tie in ties.values()) > 1:
        return _cut(units, _by_position(over, ties), kept, budget, dense)
    some = any(bool(chosen.any()) for chosen in over.values())
    if some and amount - at.above <= at.reaching - amount:
        return over
    return {name: over[name] | ties[name] for name in over}


def _all(levels: Levels) -> Kept:
    return {name: torch.ones(level.shape, dtype=torch.bool) for name, level in levels.items()}


def _spread(units: Units, levels: Levels) -> Levels:
    """Give all members of a tied group its leader's levels."""
    return {
        name: levels[leader].reshape(units.scores[name].shape)
        for name, leader in units.leaders.items()
    }


def _by_position(over: Kept, ties: Kept) -> Levels:
    """Order units of equal level by position; the other units are decided."""
    levels, before = {}, 0
    exact = _exact(sum(int(tie.count_nonzero()) for tie in ties.values()))
    for name, tie in ties.items():
        level = torch.full(tie.shape, -math.inf, dtype=exact).masked_fill_(over[name], math.inf)
        count = int(tie.count_nonzero())
        level[tie] = -torch.arange(before, before + count, dtype=exact)
        levels[name] = level
        before += count
    return levels


def _ranked(scores: Mapping[str, Tensor]) -> Levels:
    """Return each unit's negative rank in its layer as a share of the layer; 0 for the best."""
    levels = {}
    exact = _exact(2 * max(score.numel() for score in scores.values()))
    for name, score in scores.items():
        places = order(score.reshape(-1))
        ranks = torch.empty(score.numel(), dtype=exact)
        ranks[places] = torch.arange(score.numel(), dtype=exact)
        levels[name] = -(ranks / score.numel()).reshape(score.shape)
    return levels


def order(scores: Tensor) -> Tensor:
    """Return the positions of scores [units], highest score first; equal ones keep their order.

    For float32 this is a stable sort, but by numpy's sort of integers, several times as fast as
    torch's: each integer's upper half has the order of the scores, its lower half the position.
    """
    if scores.dtype != torch.float32:
        return scores.sort(descending=True, stable=True).indices
    bits = (scores + 0.0).numpy().view(np.int32)  # turns -0.0 into 0.0: both are equal
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (~ascending).astype(np.int64) << 32
    keys |= np.arange(len(keys))
    keys.sort()
    return torch.from_numpy(keys & 0xFFFFFFFF)


def _exact(count: int) -> torch.dtype:
    """Return a type that separates ``count`` integers, or shares of half as many."""
    return torch.float32 if count < 1 << 24 else torch.float64


def _floor(scores: Tensor, budget: Budget) -> int:
    """Return how many units the protection keeps of those that no earlier pass pruned."""
    return math.ceil(budget.protection * int((scores > -math.inf).sum()))


def _best(scores: Tensor, count: int) -> Tensor:
    """Mark the ``count`` best units of a layer; of equal ones the first."""
    flat = scores.reshape(-1)
    if not count:
        return torch.zeros(scores.shape, dtype=torch.bool)
    last = flat.kthvalue(flat.numel() - count + 1).values
    best = flat > last
    equal = (flat == last).nonzero().flatten()
    best[equal[: count - int(best.sum())]] = True
    return best.reshape(scores.shape)


def _threshold(units: Units, kept: Kept) -> float | None:
    pruned = [
        float(score.masked_fill(kept[name], -math.inf).max())
        for name, score in units.own.items()
        if not kept[name].all()
    ]
    highest = max(pruned, default=-math.inf)
    return highest if highest > -math.inf else None
