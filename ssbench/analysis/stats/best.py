"""Find the rows that are best, or not distinguishable from the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from ssbench.analysis.stats.intervals import difference, mean

Name = TypeVar("Name")


def best_row(rows: Mapping[Name, Mapping[int, float]]) -> Name | None:
    """Return the row with the lowest mean among those with the most seeds; None without values.

    A row with missing seeds does not qualify: its remaining seeds may be the lucky ones.

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

    A row is excluded if the whole interval of its difference to the best lies above 0, or if it is
    worse at every seed by more than the sampling error of the test images: with three seeds, one
    lucky seed makes the interval uselessly wide. A row that shares fewer than two seeds with the
    best cannot be compared and is excluded. If no row has two seeds, only the lowest are best,
    because one seed separates nothing.

    Args:
        rows: by name, value by seed; lower is better.
        resolution: the step between possible values, see `paired_t`.
    """
    best = best_row(rows)
    if best is None:
        return set()
    if len(rows[best]) == 1:
        lowest = mean(rows[best].values())
        return {name for name, values in rows.items() if values and mean(values.values()) == lowest}
    result = {best}
    for name, values in rows.items():
        interval = difference(values, rows[best], resolution)
        worse = always_worse(values, rows[best], resolution)
        if interval is not None and interval.low <= 0 and not worse:
            result.add(name)
    return result


def always_worse(
    first: Mapping[int, float], second: Mapping[int, float], resolution: float
) -> bool:
    """Return whether ``first`` is worse at all shared seeds (at least two), beyond sampling error.

    The sampling error is that of the test images: two independent binomial shares at 95 %.

    Args:
        first: error in percent by seed.
        second: error in percent by seed.
        resolution: 100 / test images; 0 if unknown, which gives False.
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
