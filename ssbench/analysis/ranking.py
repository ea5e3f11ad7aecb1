"""Average ranks of the methods over all (data set, model, budget) that all of them have.

Ranks together only tables with the same total epochs and initial weights, and only one table per
network and data set: the rows of two could not be compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.merge import conditions
from ssbench.analysis.rows import Row, by_budget, rivals

Cell = tuple[str, str, float]
"""Data set, model and the share to keep."""


@dataclass(frozen=True)
class Ranks:
    """The methods with budgets in one unit, by average rank.

    Attributes:
        left_out: methods that lack a cell, with the number of cells they have: no mean skips
            missing cells.
        under: how these tables differ from tables ranked separately; empty: there are none.
    """

    unit: str
    ranking: stats.Ranking[str]
    cells: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]
    under: str = ""

    @property
    def title(self) -> str:
        """The ranked cells."""
        noun = "MACs" if self.unit == "macs" else self.unit
        under = f" ({self.under})" if self.under else ""
        count = len(self.cells)
        return f"budgets of {noun}{under}, {count} cell{'' if count == 1 else 's'}"

    def __str__(self) -> str:
        """Return the ranks in one line."""
        listed = ", ".join(f"{name} {rank:.2f}" for name, rank in self.ranking.average.items())
        parts = [f"{self.title}: {listed}"]
        if self.ranking.pvalue is not None and self.ranking.critical is not None:
            parts.append(
                f"Friedman p = {self.ranking.pvalue:.2g}, critical difference "
                f"{self.ranking.critical:.2f}"
            )
        if self.left_out:
            missing = ", ".join(
                f"{name} ({count} of {len(self.cells)} cells)" for name, count in self.left_out
            )
            parts.append(f"not ranked: {missing}")
        return "; ".join(parts)


CAPTION = (
    "Average rank by mean test error, 1 for the lowest, over all cells (data set, model, share "
    f"kept) of one unit. Friedman's test; ranks that differ by less than Nemenyi's critical "
    f"difference ({100 * stats.LEVEL:.0f} %) cannot be separated. Both take cells as independent, "
    "which the budgets of one network are not. Only methods with every cell and all its seeds are "
    "ranked, and only tables with the same total epochs and initial weights together."
)


def rankings(tables: Sequence[Sequence[Row]]) -> list[Ranks]:
    """Rank the methods, for each unit of budgets.

    Args:
        tables: the rows of each; rows of different tables are not compared.
    """
    groups: dict[_Group, list[Sequence[Row]]] = defaultdict(list)
    for table in tables:
        finals = [run.final for row in table for run in (*row.done, *row.failed)]
        shared = conditions(finals)
        like = table[0].like
        key, number = (like.dataset, like.model), 1
        while any(_names(there) == key for there in groups[shared.epochs, shared.start, number]):
            number += 1
        groups[shared.epochs, shared.start, number].append(table)
    whole = {group: found for group, found in groups.items() if found}
    return [
        ranks
        for group, found in whole.items()
        for ranks in _of_group(found, _under(group, list(whole)))
    ]


_Group = tuple[int | None, str, int]
"""Total epochs, initial weights, and a number if these do not distinguish two tables."""


def _names(table: Sequence[Row]) -> tuple[str, str]:
    return table[0].like.dataset, table[0].like.model


def _under(group: _Group, groups: Sequence[_Group]) -> str:
    """Return what distinguishes a group from the others."""
    words = (f"{group[0]} epochs", f"from {group[1]} weights", f"group {group[2]}")
    return ", ".join(
        word for place, word in enumerate(words) if len({other[place] for other in groups}) > 1
    )


def _of_group(tables: Sequence[Sequence[Row]], under: str) -> list[Ranks]:
    cells: dict[str, dict[Cell, dict[str, float]]] = defaultdict(dict)
    for table in tables:
        for (asked, unit), group in by_budget(table).items():
            means = _complete(rivals(group))
            if means and unit and isinstance(asked, float | int):
                cells[unit][*_names(table), asked] = means
    ranked = [_ranks(unit, found, under) for unit, found in sorted(cells.items())]
    return [ranks for ranks in ranked if ranks]


def _complete(rows: Mapping[Row, Mapping[int, float]]) -> dict[str, float]:
    """Return the mean errors of the rows with all seeds of their cell."""
    most = max((len(values) for values in rows.values()), default=0)
    return {
        row.name: stats.mean(values.values()) for row, values in rows.items() if len(values) == most
    }


def _ranks(unit: str, cells: Mapping[Cell, Mapping[str, float]], under: str) -> Ranks | None:
    counts = {
        name: sum(name in cell for cell in cells.values())
        for name in sorted({name for cell in cells.values() for name in cell})
    }
    whole = [name for name, count in counts.items() if count == len(cells)]
    if len(whole) < 2:
        return None
    titles = [
        f"{model} on {dataset}, {wording.asked(asked, unit)}" for dataset, model, asked in cells
    ]
    return Ranks(
        unit,
        stats.rank({name: [cell[name] for cell in cells.values()] for name in whole}),
        tuple(titles),
        tuple((name, count) for name, count in counts.items() if count < len(cells)),
        under,
    )
