"""Judge the order of two rows: better, not separable, or how many more seeds it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ssbench.analysis.stats.best import always_worse
from ssbench.analysis.stats.intervals import (
    FEW,
    LEVEL,
    Interval,
    deviation,
    difference,
    pairs,
    rounding,
)
from ssbench.analysis.stats.power import seeds_needed

AT_MOST = 30
"""Rows that would need more seeds than this in total are called not separable."""

Kind = Literal["better", "lower at every seed", "more seeds", "not separable", "too few seeds"]


@dataclass(frozen=True)
class Verdict:
    """Whether one row has a lower error than another.

    Attributes:
        kind: "better": yes, the whole interval lies above 0. "lower at every seed": the interval
            includes 0, but the second row is worse at every seed by more than the sampling error of
            the test images. "more seeds": ``more`` seeds would show a difference of the observed
            size with a probability of `POWER`. "not separable": even `AT_MOST` seeds would not.
            "too few seeds": fewer than `FEW` are shared.
        pairs: the number of shared seeds.
        more: seeds to add, for "more seeds" and "too few seeds", and for "lower at every seed" if
            `AT_MOST` are enough; else 0.
        interval: second - first, in the unit of the values; None for "too few seeds".
        spread: the sample standard deviation of the paired differences, at least that of rounding
            to whole test images; None for "too few seeds".
    """

    kind: Kind
    pairs: int
    more: int = 0
    interval: Interval | None = None
    spread: float | None = None


def verdict(
    first: Mapping[int, float],
    second: Mapping[int, float],
    resolution: float = 0.0,
    level: float = LEVEL,
) -> Verdict:
    """Judge whether the first row has a lower error than the second.

    Args:
        first: error by seed, of the row with the lower mean.
        second: error by seed.
        resolution: the step in which errors come, see `ssbench.analysis.stats.paired_t`.
        level: the confidence of the interval.
    """
    differences = pairs(second, first)
    interval = difference(second, first, resolution, level)
    count = len(differences)
    if count < FEW or interval is None:
        return Verdict("too few seeds", count, FEW - count)
    spread = max(deviation(differences) or 0.0, rounding(resolution))
    if interval.low > 0:
        return Verdict("better", count, 0, interval, spread)
    needed = seeds_needed(interval.mean, spread, AT_MOST) if interval.mean > 0 else None
    # Enough seeds for a difference of the observed size, yet none was found: add at least one.
    more = 0 if needed is None else max(1, needed - count)
    if always_worse(second, first, resolution):
        return Verdict("lower at every seed", count, more, interval, spread)
    kind: Kind = "more seeds" if more else "not separable"
    return Verdict(kind, count, more, interval, spread)


def looks(first: int, at_most: int) -> list[int]:
    """Return the numbers of seeds at which a sequential comparison is tested.

    Tested after every seed, equal rows would be called different far more often than once in
    twenty. So the tests are few and fixed in advance (each has 1.5 times the seeds of the one
    before), and each uses `level_of_each`.

    Args:
        first: the number of seeds at hand.
        at_most: the number of seeds at the last test.
    """
    counts = [max(first, FEW)]
    while counts[-1] < at_most:
        counts.append(min(at_most, max(counts[-1] + 1, round(1.5 * counts[-1]))))
    return counts


def level_of_each(count: int) -> float:
    """Return the confidence of each of several tests that together keep `LEVEL` (Bonferroni)."""
    return 1 - (1 - LEVEL) / count
