"""Which units stay: the budget is met by moving one cut through the units in order of score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.sparsity.budget import Budget
from ssbench.sparsity.units import Units

Share = Callable[[Mapping[str, Tensor]], float]
"""The share of the budget's unit that a set of masks leaves."""


@dataclass(frozen=True)
class Selection:
    """Masks by weight name, in the weights' shapes (True: kept), and how they came about.

    Attributes:
        reached: the share of the budget's unit that is kept.
        threshold: the largest score among the pruned units; None where nothing was pruned.
        protected: the number of layers that kept units only because of the protection.
    """

    masks: dict[str, Tensor]
    reached: float
    threshold: float | None
    protected: int


def select(units: Units, budget: Budget, share: Share, own: float | None) -> Selection:
    """Keep the best units until the budget is met as closely as the grain allows.

    Units of equal score are taken in the order of layers and positions, so that the same scores
    always give the same masks. Of the two cuts next to the budget the nearer one is taken, of
    two equally near ones the smaller network.

    Args:
        units: the scored units.
        budget: how much may stay.
        share: measures a set of masks in the budget's unit.
        own: the method's own threshold, for the budget "own".

    Raises:
        RunFailedError: the budget is "own" and the method has no threshold.
    """
    order = _order(units, budget)
    if budget.kept == "own":
        if own is None:
            raise RunFailedError("the budget is the method's own, but it has no threshold")
        cut = int((units.values > own).sum())
    else:
        cut = _nearest(lambda k: share(units.masks(_first(order, k))), budget.kept, len(order))
    kept = _first(order, cut)
    protected = 0
    if budget.protection:
        kept, protected = _protect(units, kept, budget)
    pruned = units.values[~kept]
    masks = {name: mask.clone() for name, mask in units.masks(kept).items()}
    threshold = float(pruned.max()) if len(pruned) else None
    return Selection(masks, share(masks), threshold, protected)


def least_share(units: Units, budget: Budget, share: Share) -> float:
    """The smallest share that the grain can reach: one unit is kept, or one in every layer."""
    starts = torch.tensor([0, *units.sizes]).cumsum(0)[:-1]
    chosen = starts if budget.scope == "layerwise" else starts[units.sizes.index(max(units.sizes))]
    kept = torch.zeros(len(units.values), dtype=torch.bool)
    kept[chosen] = True
    return share(units.masks(kept))


def _order(units: Units, budget: Budget) -> Tensor:
    """The units from the first to stay to the last.

    Layerwise, units are ordered by their rank within the layer as a share of it.
    """
    values = units.values
    if budget.scope == "layerwise":
        ranks = [_rank(part) / part.numel() for part in torch.split(values, units.sizes)]
        values = -torch.cat(ranks)
    order = torch.sort(values, descending=True, stable=True).indices
    if not budget.protection:
        return order
    safe = torch.cat([_rank(p) < _floor(p, budget) for p in torch.split(values, units.sizes)])
    return order[torch.sort(safe[order].int(), descending=True, stable=True).indices]


def _rank(values: Tensor) -> Tensor:
    """Each value's place, 0 for the highest; of equals the first comes first."""
    ranks = torch.empty(values.numel(), dtype=torch.float64)
    order = torch.sort(values, descending=True, stable=True).indices
    ranks[order] = torch.arange(values.numel(), dtype=torch.float64)
    return ranks


def _floor(values: Tensor, budget: Budget) -> int:
    """The number of units that the protection keeps in a layer."""
    return math.ceil(budget.protection * values.numel())


def _first(order: Tensor, count: int) -> Tensor:
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[:count]] = True
    return kept


def _nearest(share: Callable[[int], float], target: float, count: int) -> int:
    """The number of units whose share is nearest to the target; shares grow with the number."""
    if share(count) <= target:
        return count
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share(middle) <= target else (low, middle)
    if low == 0:
        return high
    below, above = target - share(low), share(high) - target
    return low if below <= above else high


def _protect(units: Units, kept: Tensor, budget: Budget) -> tuple[Tensor, int]:
    """Keep every layer's floor, and count the layers that would have had less."""
    plain = select_plain(units, int(kept.sum()))
    acted = 0
    result = kept.clone()
    parts = zip(
        torch.split(units.values, units.sizes),
        torch.split(result, units.sizes),
        torch.split(plain, units.sizes),
        strict=True,
    )
    for values, chosen, unprotected in parts:
        floor = _floor(values, budget)
        chosen |= _rank(values) < floor
        acted += int(unprotected.sum()) < floor
    return result, acted


def select_plain(units: Units, count: int) -> Tensor:
    """The ``count`` best units without protection, boolean [units]."""
    return _first(torch.sort(units.values, descending=True, stable=True).indices, count)
