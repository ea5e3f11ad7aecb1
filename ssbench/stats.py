"""Means, intervals, and which of several methods can be told apart; numpy only.

With the three to five seeds that are usual, a percentile bootstrap of the paired differences has
at most 27 to 3,125 distinct resamples and covers far less than it says. Under ten pairs the
interval is therefore Student's t of the paired differences; from ten on it is the bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Row = TypeVar("Row", bound=Hashable)
Seeds = Mapping[int, float]
"""One value per seed."""

BOOTSTRAP_FROM = 10
RESAMPLES = 10_000
_T = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010,
    2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
)  # fmt: skip
"""Student's t, 97.5 % point, for 1 to 20 degrees of freedom."""


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None for a single value."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def paired_interval(first: Seeds, second: Seeds) -> tuple[float, float] | None:
    """The 95 % interval of the mean of ``first - second``, paired by seed.

    Returns None where fewer than two seeds are common: nothing can be said.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(differences) < 2:
        return None
    if len(differences) >= BOOTSTRAP_FROM:
        return bootstrap_interval(differences)
    half = half_width(differences)
    return mean(differences) - half, mean(differences) + half


def half_width(differences: Sequence[float]) -> float:
    """Half of Student's 95 % interval of a mean."""
    count = len(differences)
    spread = deviation(differences) or 0.0
    quantile = _T[count - 2] if count - 2 < len(_T) else 1.96 + 2.5 / (count - 1)
    return quantile * spread / math.sqrt(count)


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean, with a fixed seed."""
    values = np.asarray(differences)
    chosen = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(1), [0.025, 0.975])
    return float(low), float(high)


def best(rows: Mapping[Row, Seeds], images: int) -> set[Row]:
    """The rows whose mean is lowest, or that cannot be told apart from it.

    A row can be told apart where the 95 % interval of its paired difference to the best lies
    above 0, or where it is worse at every seed, of two at least, by more than the test images'
    own sampling error: three seeds, one of them lucky, make the interval uselessly wide. A row
    with one seed is best only where its value equals the lowest.

    Args:
        rows: errors in percent, by row and seed.
        images: the number of test images.
    """
    means = {row: mean(list(seeds.values())) for row, seeds in rows.items() if seeds}
    if not means:
        return set()
    winner = min(means, key=lambda row: means[row])
    found = {row for row in means if math.isclose(means[row], means[winner], abs_tol=1e-12)}
    for row in means:
        interval = paired_interval(rows[row], rows[winner])
        if interval and interval[0] <= 0 and not always_worse(rows[row], rows[winner], images):
            found.add(row)
    return found


def always_worse(first: Seeds, second: Seeds, images: int) -> bool:
    """Whether ``first`` has, at every common seed, more errors than sampling explains at 95 %.

    Errors are percent of ``images`` test images, taken as two independent binomial shares.
    """
    common = first.keys() & second.keys()

    def worse(seed: int) -> bool:
        shares = [min(max(value / 100, 0.0), 1.0) for value in (first[seed], second[seed])]
        error = math.sqrt(math.fsum(share * (1 - share) for share in shares) / images)
        return shares[0] - shares[1] > 1.96 * error

    return len(common) > 1 and all(worse(seed) for seed in common)


def separable(rows: Mapping[Row, Seeds]) -> float | None:
    """The gap to the best that these seeds can tell apart: the median half-width over the rows."""
    means = {row: mean(list(seeds.values())) for row, seeds in rows.items() if seeds}
    if len(means) < 2:
        return None
    winner = min(means, key=lambda row: means[row])
    intervals = [paired_interval(rows[row], rows[winner]) for row in means if row != winner]
    widths = [(high - low) / 2 for low, high in (i for i in intervals if i)]
    return float(np.median(widths)) if widths else None
