"""The power of the paired t test: how many seeds a difference needs.

>>> round(detectable(0.2, 3), 2), round(detectable(0.2, 5), 2)
(0.65, 0.34)
"""

from __future__ import annotations

import math
from functools import lru_cache

from ssbench.analysis.stats.intervals import LEVEL

POWER = 0.8
"""The required probability of finding a true difference."""


def power(effect: float, pairs: int) -> float:
    """Return the power of the paired t test (two-sided, at 1 - `LEVEL`).

    Args:
        effect: the true mean difference over the standard deviation of paired differences.
        pairs: at least 2.

    Returns:
        The probability, from the noncentral t distribution with ``pairs - 1`` degrees of freedom.

    Raises:
        ValueError: fewer than two pairs.
    """
    if pairs < 2:
        raise ValueError("a paired test needs at least two pairs")
    # The import takes seconds; a table of means does not need it.
    from scipy.stats import nct, t

    degrees, shift = pairs - 1, abs(effect) * math.sqrt(pairs)
    limit = float(t.ppf((1 + LEVEL) / 2, degrees))
    above = float(nct.sf(limit, degrees, shift))
    below = float(nct.cdf(-limit, degrees, shift))
    # Far from the centre the series of the noncentral t underflows; the power there is 1.
    return 1.0 if math.isnan(above) else min(1.0, above + (0.0 if math.isnan(below) else below))


def seeds_needed(gap: float, spread: float, at_most: int) -> int | None:
    """Return the smallest number of pairs that find a difference with the probability `POWER`.

    Args:
        gap: the mean difference, in the unit of ``spread``.
        spread: the standard deviation of the paired differences.
        at_most: the maximum.

    Returns:
        At least 2; None if ``at_most`` pairs are too few, as for a gap of 0.
    """
    if spread == 0:
        return 2 if gap else None
    effect = abs(gap) / spread
    if at_most < 2 or power(effect, at_most) < POWER:
        return None
    low, high = 2, at_most  # power rises with the pairs
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle + 1, high)
    return low


def detectable(spread: float, pairs: int) -> float:
    """Return the smallest difference that a number of pairs finds with the probability `POWER`.

    Args:
        spread: the standard deviation of the paired differences.
        pairs: at least 2.

    Returns:
        The difference, in the unit of ``spread``.
    """
    return spread * _effect(pairs)


@lru_cache(maxsize=64)
def _effect(pairs: int) -> float:
    low, high = 0.0, 1.0
    while power(high, pairs) < POWER:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, pairs) >= POWER else (middle, high)
    return high
