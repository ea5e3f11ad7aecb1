"""Means, intervals of paired differences, and which rows are best.

>>> best_rows({"a": {0: 1.0, 1: 1.2, 2: 1.1}, "b": {0: 5.0, 1: 5.1, 2: 5.3}})
{'a'}

Runs are paired by seed: with the same seed all methods have the same initial weights and batches.
A percentile bootstrap of three pairs knows only ten different means and covers the true difference
in far fewer than 95 of 100 cases. So with fewer than `MANY` pairs the interval is the paired t
interval, from `MANY` pairs on the seeded paired bootstrap. Nothing is corrected for the number of
comparisons, and the intervals speak of other seeds, not of other test images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name")
LEVEL = 0.95
"""The confidence of every interval."""
MANY = 20
"""The number of pairs from which a percentile bootstrap is about as honest as a t interval."""


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


def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution.

    Args:
        probability: in (0.5, 1).
        degrees: of freedom, at least 1.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not 0.5 < probability < 1 or degrees < 1:
        raise ValueError(f"no t quantile for probability {probability}, {degrees} degrees")
    wanted = 2 * probability - 1
    # Bisected on the angle atan(t / sqrt(degrees)), which is bounded where t is not.
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < wanted else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _inside(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) * tan(angle)): for whole degrees of freedom a finite series."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for step in range(degrees // 2):
        total += term
        term *= cosine**2 * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def paired_t(differences: Sequence[float], resolution: float = 0.0) -> Interval:
    """Return the t interval of a mean of paired differences.

    Args:
        differences: one per pair.
        resolution: the step in which the compared values come (100 / test images for a
            percentage); no spread is believed to be smaller than what rounding to it makes.

    Raises:
        ValueError: there are fewer than two pairs.
    """
    spread = deviation(differences)
    if spread is None:
        raise ValueError("an interval needs at least two pairs")
    spread = max(spread, _rounding(resolution))
    half = t_quantile((1 + LEVEL) / 2, len(differences) - 1) * spread / math.sqrt(len(differences))
    middle = mean(differences)
    return Interval(middle, middle - half, middle + half)


def _rounding(resolution: float) -> float:
    """The spread that rounding alone gives a difference: step^2 / 12 for each of the two."""
    return resolution / math.sqrt(6)


def paired_bootstrap(
    differences: Sequence[float], seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Return the percentile bootstrap interval of a mean of paired differences.

    Args:
        differences: one per pair.
        seed: of the resampling; the same arguments give the same interval.
        resamples: how often the pairs are drawn anew.

    Raises:
        ValueError: there are fewer than two pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        raise ValueError("an interval needs at least two pairs")
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    return Interval(mean(differences), float(low), float(high))


def difference(
    first: Mapping[int, float], second: Mapping[int, float], resolution: float = 0.0
) -> Interval | None:
    """Return the interval of the mean of first - second over the seeds that both have.

    Args:
        first: value by seed.
        second: value by seed.
        resolution: the step in which values come, see `paired_t`.

    Returns:
        None where fewer than two seeds are shared.
    """
    pairs = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(pairs) < 2:
        return None
    return paired_t(pairs, resolution) if len(pairs) < MANY else paired_bootstrap(pairs)


def rule(pairs: int) -> str:
    """Name the interval that `difference` uses for a number of pairs."""
    kind = "t" if pairs < MANY else "bootstrap"
    return f"{LEVEL * 100:.0f} % paired {kind} interval"


def best_row(rows: Mapping[Name, Mapping[int, float]]) -> Name | None:
    """Return the row with the lowest mean of those with the most seeds; None for no values.

    A row that lacks seeds is not the yardstick: what is left of it may be its lucky part.

    Args:
        rows: by name, value by seed; lower is better.
    """
    most = max((len(values) for values in rows.values()), default=0)
    if not most:
        return None
    full = {name: values for name, values in rows.items() if len(values) == most}
    return min(full, key=lambda name: mean(full[name].values()))


def best_rows(rows: Mapping[Name, Mapping[int, float]], resolution: float = 0.0) -> set[Name]:
    """Return the rows that are best or not distinguishable from the best.

    A row belongs to them unless the whole interval of its difference to the best lies above 0, or
    it is worse at every seed by more than the sampling error of the test images: three seeds, of
    which one is lucky, make the interval uselessly wide.
    A row that shares fewer than two seeds with the best cannot be compared and does not belong;
    where no row has two seeds, only the lowest do, since one seed separates nothing.

    Args:
        rows: by name, value by seed; lower is better.
        resolution: the step in which values come, see `paired_t`.
    """
    best = best_row(rows)
    if best is None:
        return set()
    if len(rows[best]) == 1:
        lowest = mean(rows[best].values())
        return {name for name, values in rows.items() if values and mean(values.values()) == lowest}
    found = {best}
    for name, values in rows.items():
        interval = difference(values, rows[best], resolution)
        worse = always_worse(values, rows[best], resolution)
        if interval is not None and interval.low <= 0 and not worse:
            found.add(name)
    return found


def always_worse(
    first: Mapping[int, float], second: Mapping[int, float], resolution: float
) -> bool:
    """Return whether ``first`` errs more at every shared seed, of two at least, beyond chance.

    Chance is that of drawing other test images: two independent binomial shares at 95 %.

    Args:
        first: error in percent by seed.
        second: error in percent by seed.
        resolution: 100 / test images; 0 where it is not known, and then nothing is said.
    """
    seeds = first.keys() & second.keys()
    if len(seeds) < 2 or not resolution:
        return False
    # In percent and per image: p (100 - p) / n is p (100 - p) * resolution / 100.
    limits = {
        seed: 1.96
        * math.sqrt(
            sum(max(e * (100 - e), 0.0) for e in (first[seed], second[seed])) * resolution / 100
        )
        for seed in seeds
    }
    return all(first[seed] - second[seed] > limits[seed] for seed in seeds)


def smallest_gap(deviations: Iterable[float], seeds: int, resolution: float = 0.0) -> float | None:
    """Return the smallest difference of two means that a number of seeds can separate.

    Takes two rows with the median spread that vary independently; pairing makes the gap smaller
    where rows vary together. The median, as one broken row would enlarge a mean beyond use.

    Args:
        deviations: the sample standard deviation of each row.
        seeds: in each row.
        resolution: the step in which values come, see `paired_t`.

    Returns:
        The gap in the unit of the values; None for fewer than two seeds or no row.
    """
    spreads = list(deviations)
    if seeds < 2 or not spreads:
        return None
    spread = max(math.sqrt(2) * float(np.median(spreads)), _rounding(resolution))
    return t_quantile((1 + LEVEL) / 2, seeds - 1) * spread / math.sqrt(seeds)
