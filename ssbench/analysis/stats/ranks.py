"""Ranks over several comparisons: Friedman's test and Nemenyi's critical difference.

Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ssbench.analysis.stats.intervals import LEVEL, mean

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Ranking(Generic[Name]):
    """Average ranks over cells, 1 for the lowest error.

    Attributes:
        average: rank by name, from best to worst.
        cells: the number of comparisons.
        pvalue: of Friedman's test that all ranks are equal; None for fewer than three names or
            two cells.
        critical: average ranks that differ by less than this are not significantly different
            (Nemenyi, at 1 - `LEVEL`); None if there is no test.
    """

    average: Mapping[Name, float]
    cells: int
    pvalue: float | None
    critical: float | None

    def cliques(self) -> list[tuple[Name, ...]]:
        """Return the largest groups of neighbours within the critical difference."""
        if self.critical is None:
            return []
        names = list(self.average)
        groups: list[tuple[Name, ...]] = []
        for start, name in enumerate(names):
            limit = self.average[name] + self.critical
            group = tuple(other for other in names[start:] if self.average[other] < limit)
            if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
                groups.append(group)
        return groups


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the lowest; ties share their mean rank."""
    order = sorted(values)
    return [order.index(value) + (order.count(value) + 1) / 2 for value in values]


def rank(table: Mapping[Name, Sequence[float]]) -> Ranking[Name]:
    """Rank names over cells.

    Args:
        table: by name, one value for each cell; lower is better. No cell may be missing.

    Raises:
        ValueError: no name, no cell, or names with different numbers of cells.
    """
    cells = {len(values) for values in table.values()}
    if len(cells) != 1 or cells == {0}:
        raise ValueError("ranks need a value in every cell")
    count = cells.pop()
    columns = [ranks(column) for column in zip(*table.values(), strict=True)]
    averages = {name: mean(column[place] for column in columns) for place, name in enumerate(table)}
    ordered = dict(sorted(averages.items(), key=lambda item: item[1]))
    if len(table) < 3 or count < 2:
        return Ranking(ordered, count, None, None)
    return Ranking(ordered, count, friedman(columns), critical_difference(len(table), count))


def friedman(columns: Sequence[Sequence[float]]) -> float:
    """Return the p-value of Friedman's test; 1 if all ranks of all cells are equal.

    Args:
        columns: for each cell the ranks of all names, at least three.
    """
    if all(len(set(column)) == 1 for column in columns):
        return 1.0
    # The import takes seconds.
    from scipy.stats import friedmanchisquare

    return float(friedmanchisquare(*zip(*columns, strict=True)).pvalue)


def critical_difference(names: int, cells: int) -> float:
    """Return Nemenyi's critical difference of two average ranks.

    Args:
        names: the number of names, at least two.
        cells: the number of comparisons.
    """
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(LEVEL, names, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(names * (names + 1) / (6 * cells))
