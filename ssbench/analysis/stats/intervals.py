"""Means, and intervals of paired differences.

Runs are paired by seed: with the same seed all methods have the same initial weights and batches.
A percentile bootstrap of three pairs knows only ten different means and covers the true difference
in far fewer than 95 of 100 cases. So with fewer than `MANY` pairs the interval is the paired t
interval; from `MANY` pairs on it is the seeded paired bootstrap with `expanded` percentiles.
Nothing is corrected for the number of comparisons, and the intervals cover other seeds, not other
test images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""The confidence of every interval."""
MANY = 20
"""From this number of pairs an expanded bootstrap covers about as well as a t interval."""
FEW = 3
"""Minimum number of pairs for an interval in reports; fewer give no useful spread."""


class Interval(NamedTuple):
    """A mean and the limits of its interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    items = list(values)
    return math.fsum(items) / len(items)


def deviation(values: Iterable[float]) -> float | None:
    """Return the sample standard deviation (n - 1); None for fewer than two values."""
    items = list(values)
    if len(items) < 2:
        return None
    middle = mean(items)
    return math.sqrt(math.fsum((item - middle) ** 2 for item in items) / (len(items) - 1))


@cache
def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution.

    Args:
        probability: in (0.5, 1).
        degrees: degrees of freedom, at least 1.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not 0.5 < probability < 1 or degrees < 1:
        raise ValueError(f"no t quantile for probability {probability}, {degrees} degrees")
    from scipy.special import stdtrit  # scipy.stats would take seconds

    return float(stdtrit(degrees, probability))


def t_tail(value: float, degrees: int) -> float:
    """Return the probability that Student's t is at least ``value``."""
    from scipy.special import stdtr

    return float(stdtr(degrees, -value))


def paired_t(
    differences: Sequence[float], resolution: float = 0.0, level: float = LEVEL
) -> Interval:
    """Return the t interval of a mean of paired differences.

    Args:
        differences: one per pair.
        resolution: the step between possible values (100 / test images for a percentage); the
            spread is at least that of rounding to this step.
        level: the confidence, in (0, 1).

    Raises:
        ValueError: there are fewer than two pairs.
    """
    spread = deviation(differences)
    if spread is None:
        raise ValueError("an interval needs at least two pairs")
    spread = max(spread, rounding(resolution))
    half = t_quantile((1 + level) / 2, len(differences) - 1) * spread / math.sqrt(len(differences))
    middle = mean(differences)
    return Interval(middle, middle - half, middle + half)


def rounding(resolution: float) -> float:
    """Return the spread of a difference from rounding alone: step^2 / 12 for each value."""
    return resolution / math.sqrt(6)


def paired_bootstrap(
    differences: Sequence[float], seed: int = 0, resamples: int = 10_000, level: float = LEVEL
) -> Interval:
    """Return the percentile bootstrap interval of a mean of paired differences.

    Args:
        differences: one per pair.
        seed: for resampling; the same arguments give the same interval.
        resamples: the number of resamples.
        level: the confidence, in (0, 1).

    Raises:
        ValueError: there are fewer than two pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        raise ValueError("an interval needs at least two pairs")
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    return Interval(mean(differences), float(low), float(high))


def expanded(pairs: int, level: float = LEVEL) -> float:
    """Return the level of percentiles at which a bootstrap interval covers ``level``.

    Resampled means vary too little, by sqrt((n - 1) / n), and lack the tails of Student's t: plain
    percentiles of 20 normal pairs cover 93 % of the time, expanded ones 95 % (Hesterberg, What
    teachers should know about the bootstrap, The American Statistician 69, 2015).

    Args:
        pairs: at least two.
        level: the confidence, in (0, 1).
    """
    reach = math.sqrt(pairs / (pairs - 1)) * t_quantile((1 + level) / 2, pairs - 1)
    return 1 - 2 * NormalDist().cdf(-reach)


def difference(
    first: Mapping[int, float],
    second: Mapping[int, float],
    resolution: float = 0.0,
    level: float = LEVEL,
) -> Interval | None:
    """Return the interval of the mean of first - second over shared seeds.

    Args:
        first: value by seed.
        second: value by seed.
        resolution: the step in which values come, see `paired_t`.
        level: the confidence, in (0, 1).

    Returns:
        None if fewer than two seeds are shared.
    """
    differences = pairs(first, second)
    if len(differences) < 2:
        return None
    if len(differences) < MANY:
        return paired_t(differences, resolution, level)
    return paired_bootstrap(differences, level=expanded(len(differences), level))


def pairs(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Return first - second over shared seeds, in the order of the seeds."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def rule(count: int) -> str:
    """Name the interval that `difference` uses for a number of pairs."""
    kind = "t" if count < MANY else "bootstrap"
    return f"{LEVEL * 100:.0f} % paired {kind} interval"


def smallest_gap(deviations: Iterable[float], seeds: int, resolution: float = 0.0) -> float | None:
    """Return the smallest difference of two means that a number of seeds can separate.

    Assumes two independent rows with the median spread; if rows vary together, pairing makes the
    gap smaller. Uses the median because one broken row would dominate a mean.

    Args:
        deviations: the sample standard deviation of each row.
        seeds: the number in each row.
        resolution: the step in which values come, see `paired_t`.

    Returns:
        The gap in the unit of the values; None for fewer than two seeds or no row.
    """
    spreads = list(deviations)
    if seeds < 2 or not spreads:
        return None
    spread = max(math.sqrt(2) * float(np.median(spreads)), rounding(resolution))
    return t_quantile((1 + LEVEL) / 2, seeds - 1) * spread / math.sqrt(seeds)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a binomial share (Wilson 1927), valid near 0 too."""
    square = 1.96**2 / count
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
