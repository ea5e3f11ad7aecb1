"""Find the level at which a sum over entries first exceeds an amount, without sorting them.

A sorted sample brackets the level, one pass counts the entries above the bracket, and only those
inside are searched again: the idea of Floyd and Rivest, "Expected time bounds for selection"
(CACM 18:3, 1975), for weighted entries. The result is exact; the sample affects only the speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import eq, gt, lt
from typing import NamedTuple

import torch
from torch import Tensor

_SORTED = 1 << 17
"""The number of entries to sort at once, and the least size of a sample."""
_MARGIN = 4.0
"""Half the bracket's width, in standard errors of the sample's share."""

Entries = Sequence[tuple[Tensor, int]]
Compare = Callable[[Tensor, float], Tensor]


class Crossing(NamedTuple):
    """The level at which the sum crosses the amount.

    Attributes:
        level: the highest level with a sum over entries >= level that exceeds the amount.
        above: the sum over entries > level; at most the amount.
        reaching: the sum over entries >= level.
    """

    level: float
    above: int
    reaching: int


def crossing(entries: Entries, amount: float) -> Crossing:
    """Find the level at which the prices, summed from the highest level down, exceed an amount.

    Args:
        entries: levels (1-D, without NaN) with the price of each entry; the total must exceed the
            amount.
        amount: not negative.
    """
    pool = [(levels, each) for levels, each in entries if each and levels.numel()]
    above = 0
    before = math.inf
    while 2 * _SORTED < (count := sum(levels.numel() for levels, _ in pool)) < before:
        before = count  # stop if a bracket holds the whole pool, as with few distinct levels
        low, high = _bracket(pool, amount - above)
        over = _sum(pool, gt, high)
        inside = [(part[(part >= low) & (part <= high)], each) for part, each in pool]
        found = sum(levels.numel() * each for levels, each in inside)
        if above + over > amount:
            pool = _part(pool, gt, high)
        elif above + over + found > amount:
            pool, above = inside, above + over
            if low == high:
                return Crossing(low, above, above + found)
        else:
            pool, above = _part(pool, lt, low), above + over + found
    return _sorted(pool, amount, above)


def _sum(pool: Entries, compare: Compare, level: float) -> int:
    return sum(int(compare(levels, level).count_nonzero()) * each for levels, each in pool)


def _part(pool: Entries, compare: Compare, level: float) -> list[tuple[Tensor, int]]:
    return [(levels[compare(levels, level)], each) for levels, each in pool]


def _sorted(pool: Entries, amount: float, above: int) -> Crossing:
    levels = torch.cat([part.double() for part, _ in pool])
    prices = torch.cat([torch.full((part.numel(),), each) for part, each in pool])
    order = torch.sort(levels, descending=True).indices
    sums = above + prices[order].cumsum(0)
    # Prices are integers: a sum exceeds the amount as soon as it exceeds its floor.
    place = int(torch.searchsorted(sums, int(amount), right=True))
    level = float(levels[order[place]])
    return _tied(pool, level, above + _sum(pool, gt, level))


def _tied(pool: Entries, level: float, above: int) -> Crossing:
    return Crossing(level, above, above + _sum(pool, eq, level))


def _bracket(pool: Entries, amount: float) -> tuple[float, float]:
    """Return two levels that probably bracket the crossing."""
    total = sum(levels.numel() for levels, _ in pool)
    step = max(total // _SORTED, 1)
    drawn = [(levels[::step], each * step) for levels, each in pool]
    levels = torch.cat([part for part, _ in drawn])
    prices = torch.cat([torch.full((part.numel(),), float(each)) for part, each in drawn])
    order = torch.sort(levels, descending=True).indices
    sums = prices[order].cumsum(0, dtype=torch.float64)
    place = int(torch.searchsorted(sums, amount))
    margin = int(_MARGIN * (place * (1 - place / len(order)) + 1) ** 0.5) + 2
    last = len(order) - 1
    high, low = max(place - margin, 0), min(place + margin, last)
    # The sample's ends are not the entries' ends.
    top = math.inf if high == 0 else float(levels[order[high]])
    bottom = -math.inf if low == last else float(levels[order[low]])
    if bottom == top:
        return bottom, top
    # Infinite levels are equal: leave them outside.
    big = torch.finfo(levels.dtype).max
    return max(bottom, -big), min(top, big)
