"""Which units stay: one cut through the units in order of score, where it meets the budget."""

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
"""The share of the budget's unit that a set of masks leaves."""
Levels = dict[str, Tensor]


@dataclass(frozen=True)
class Selection:
    """Masks by weight name, in the weights' shapes (True: kept), and how they came about.

    Attributes:
        reached: the share of the budget's unit that is kept, counted on the masks, or, where
            whole filters go, on the network after surgery.
        threshold: the largest score among the pruned units; None where nothing was pruned.
        protected: the number of layers that kept units only because of the protection.
        scores: the histogram of all units' scores, see `ssbench.pruning.histogram`.
        units: what was selected from.
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
    """Keep the best units until the budget is met as closely as the grain allows.

    Units of equal score are taken in the order of layers and positions, so that the same scores
    always give the same masks. Of the two cuts next to the budget the nearer one is taken, of
    two equally near ones the smaller network. At least one unit stays.

    Args:
        units: the scored units.
        budget: how much may stay.
        dense: the counts of the dense network.
        share: measures a set of masks in the budget's unit; where whole filters go, the network
            after surgery is measured instead.
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
    found = histogram(units.values)
    reached = left(units, masks, budget, dense) if units.whole_filters else share(masks)
    return Selection(masks, reached, _threshold(units, kept), protected, found, units)


def least_share(units: Units, budget: Budget, dense: Counts, share: Share) -> float:
    """The smallest share that the grain can reach: one unit is kept, or one in every layer."""
    largest = max(units.own, key=lambda name: units.own[name].numel())
    kept = {}
    for name, score in units.own.items():
        kept[name] = torch.zeros(score.shape, dtype=torch.bool)
        if budget.scope == "layerwise" or name == largest:
            kept[name].reshape(-1)[0] = True
    masks = units.masks(kept)
    return left(units, masks, budget, dense) if units.whole_filters else share(masks)


def left(units: Units, masks: Mapping[str, Tensor], budget: Budget, dense: Counts) -> float:
    """The share of the budget's unit that surgery leaves of what masks keep."""
    return _share(units, units.cut(masks), budget, dense)


def _share(units: Units, cut: Cut, budget: Budget, dense: Counts) -> float:
    after: int = getattr(sizes(cut, dense, units.shapes), budget.unit)
    whole: int = getattr(dense, budget.unit)
    return after / whole


def after_surgery(
    units: Units, levels: Levels, chosen: Kept, budget: Budget, dense: Counts
) -> Kept:
    """Move a cut to where the network after surgery meets the budget.

    Surgery leaves what the cut leaves, unless there are groups, or operations that need all
    channels, so that mostly ``chosen`` is right. If not, the number of units is bisected.
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
    while low < high:  # the most units with no more than the budget, or the fewest there are
        middle = (low + high + 1) // 2
        low, high = (middle, high) if share(middle) <= budget.kept else (low, middle - 1)
    more = min(low + 1, flat.numel())
    nearer = abs(share(more) - budget.kept) < abs(share(low) - budget.kept)
    return best(more if nearer else low)


def _cut(units: Units, levels: Levels, kept: float, budget: Budget, dense: Counts) -> Kept:
    """Keep the units over the level at which the budget is met."""
    cost = price(units, _spread(units, levels), budget.unit, dense)
    target = kept * cost.whole
    amount = target - cost.constant
    total = sum(level.numel() * each for level, each in cost.entries)
    if total <= amount:
        return _all(levels)
    at = crossing(cost.entries, max(amount, 0.0))
    if at.level == math.inf:  # what stays in any case exceeds the budget: take the least beyond
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
    """Give all members of a tied group the levels of its leader."""
    return {
        name: levels[leader].reshape(units.scores[name].shape)
        for name, leader in units.leaders.items()
    }


def _by_position(over: Kept, ties: Kept) -> Levels:
    """Order units of equal level by their position; all others stay or go."""
    found, before = {}, 0
    exact = _exact(sum(int(tie.count_nonzero()) for tie in ties.values()))
    for name, tie in ties.items():
        level = torch.full(tie.shape, -math.inf, dtype=exact).masked_fill_(over[name], math.inf)
        count = int(tie.count_nonzero())
        level[tie] = -torch.arange(before, before + count, dtype=exact)
        found[name] = level
        before += count
    return found


def _ranked(scores: Mapping[str, Tensor]) -> Levels:
    """Each unit's rank within its layer as a share of the layer, negative: 0 for the best."""
    found = {}
    exact = _exact(2 * max(score.numel() for score in scores.values()))
    for name, score in scores.items():
        places = order(score.reshape(-1))
        ranks = torch.empty(score.numel(), dtype=exact)
        ranks[places] = torch.arange(score.numel(), dtype=exact)
        found[name] = -(ranks / score.numel()).reshape(score.shape)
    return found


def order(scores: Tensor) -> Tensor:
    """The places of scores [units], from the highest score down; of equals in order.

    For float32 a stable sort, but numpy's of whole numbers, several times as fast as torch's: the
    upper half of each number has the order of the scores, the lower half is the place.
    """
    if scores.dtype != torch.float32:
        return scores.sort(descending=True, stable=True).indices
    bits = (scores + 0.0).numpy().view(np.int32)  # of two zeros one is not less than the other
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (~ascending).astype(np.int64) << 32
    keys |= np.arange(len(keys))
    keys.sort()
    return torch.from_numpy(keys & 0xFFFFFFFF)


def _exact(count: int) -> torch.dtype:
    """A type that tells ``count`` whole numbers, or shares of half as many, from each other."""
    return torch.float32 if count < 1 << 24 else torch.float64


def _floor(scores: Tensor, budget: Budget) -> int:
    """The number of units that the protection keeps, of those that no earlier pass has pruned."""
    return math.ceil(budget.protection * int((scores > -math.inf).sum()))


def _best(scores: Tensor, count: int) -> Tensor:
    """Mark the ``count`` best of a layer; of equals the first."""
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
