"""Test whether one share of errors is lower than another by more than chance.

>>> round(fewer_by_chance((1, 500), (6, 297)), 3)
0.012
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ssbench.analysis.stats.intervals import deviation, mean, t_tail

Count = tuple[int, int]
"""The number of errors, and of images."""
OTHERS = 3
"""Minimum number of other values; fewer say too little about their spread."""


def fewer_by_chance(first: Count, second: Count) -> float:
    """Return the probability that the first has at most this many errors if both rates are equal.

    This is the one-sided exact test of two binomial shares (Fisher 1935).
    """
    (wrong, of), (other, of_other) = first, second
    every = wrong + other
    lowest, highest = max(0, every - of_other), min(of, every)
    ways = [_ways(of, k) + _ways(of_other, every - k) for k in range(lowest, highest + 1)]
    most = max(ways)
    weights = [math.exp(way - most) for way in ways]
    return math.fsum(weights[: wrong - lowest + 1]) / math.fsum(weights)


def _ways(of: int, chosen: int) -> float:
    """Return the logarithm of the binomial coefficient."""
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)


def stable(share: float) -> float:
    """Transform a share so that its sampling error, 1 / (2 sqrt(n)), does not depend on it."""
    return math.asin(math.sqrt(share))


def below_others(value: float, others: Sequence[float], least: float) -> float:
    """Return the probability that a value of the same distribution lies this far below others.

    Uses Student's t: value and others are draws from one normal distribution.

    Args:
        value: the value in question.
        others: with fewer than `OTHERS` the result is 1.
        least: the lowest standard deviation to assume.
    """
    if len(others) < OTHERS:
        return 1.0
    spread = max(deviation(others) or 0.0, least)
    if spread == 0:
        return 1.0
    distance = (mean(others) - value) / (spread * math.sqrt(1 + 1 / len(others)))
    return t_tail(distance, len(others) - 1)
