"""What two rows' seeds say about their order: better, not separable, or how many more it takes."""

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
"""Rows that would need more seeds than this, all told, are called not separable."""

Kind = Literal["better", "lower at every seed", "more seeds", "not separable", "too few seeds"]


@dataclass(frozen=True)
class Verdict:
    """Whether one row errs less than another.

    Attributes:
        kind: "better": the first one does, the whole interval lies above 0. "lower at every seed":
            it does not, but the second errs more at every seed, by more than the sampling error of
            the test images. "more seeds": so many as ``more`` says would show a difference of the
            size seen, four times in five. "not separable": even `AT_MOST` seeds would not. "too
            few seeds": fewer than `FEW` are shared, and nothing can be said.
        pairs: the seeds that both rows have.
        more: seeds to be added, for "more seeds" and "too few seeds", and for "lower at every seed"
            where `AT_MOST` are enough; else 0.
        interval: second - first, in the unit of the values; None for "too few seeds".
        spread: the sample standard deviation of the paired differences, no less than what
            rounding to whole test images makes; None for "too few seeds".
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
    """Judge whether the first row errs less than the second.

    Args:
        first: error by seed, of the row with the lower mean.
        second: error by seed.
        resolution: the step in which errors come, see `ssbench.analysis.stats.paired_t`.
        level: the confidence of the interval.
    """
    found = pairs(second, first)
    interval = difference(second, first, resolution, level)
    if len(found) < FEW or interval is None:
        return Verdict("too few seeds", len(found), FEW - len(found))
    spread = max(deviation(found) or 0.0, rounding(resolution))
    if interval.low > 0:
        return Verdict("better", len(found), 0, interval, spread)
    needed = seeds_needed(interval.mean, spread, AT_MOST) if interval.mean > 0 else None
    # A difference of the size seen would have been found already: it takes one more look at least.
    more = 0 if needed is None else max(1, needed - len(found))
    if always_worse(second, first, resolution):
        return Verdict("lower at every seed", len(found), more, interval, spread)
    kind: Kind = "more seeds" if more else "not separable"
    return Verdict(kind, len(found), more, interval, spread)


def looks(first: int, at_most: int) -> list[int]:
    """Return the numbers of seeds at which a comparison that may go on is judged.

    Judged after every seed, rows without any difference would be called different far more often
    than once in twenty. So the looks are few, fixed in advance (each has half as many seeds again
    as the one before), and each is judged at `level_of_each`.

    Args:
        first: the seeds that are there.
        at_most: the seeds at the last look.
    """
    found = [max(first, FEW)]
    while found[-1] < at_most:
        found.append(min(at_most, max(found[-1] + 1, round(1.5 * found[-1]))))
    return found


def level_of_each(count: int) -> float:
    """Return the confidence of each of several looks that have `LEVEL` together (Bonferroni)."""
    return 1 - (1 - LEVEL) / count
