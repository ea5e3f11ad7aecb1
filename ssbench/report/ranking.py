"""Average ranks of the methods over all (data set, model, budget) that all of them were run on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssbench import stats
from ssbench.report import text
from ssbench.report.rows import Row, by_budget, by_table, rivals

Cell = tuple[str, str, float]
"""Data set, model and the share that was to be kept."""


@dataclass(frozen=True)
class Ranks:
    """The methods whose budgets are counted in one unit, by average rank.

    ``left_out`` are those that lack a cell, with the number of cells that they have: no mean is
    taken over cells that are missing.
    """

    unit: str
    ranking: stats.Ranking[str]
    cells: tuple[str, ...]
    left_out: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        """Say it in one line."""
        listed = ", ".join(f"{name} {rank:.2f}" for name, rank in self.ranking.average.items())
        noun = "MACs" if self.unit == "macs" else self.unit
        parts = [f"budgets of {noun}, {len(self.cells)} cells: {listed}"]
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
    f"difference ({100 * stats.LEVEL:.0f} %) cannot be told apart. Both take cells as independent, "
    "which the budgets of one network are not. Only methods that have every cell with all its "
    "seeds are ranked."
)


def rankings(rows: Sequence[Row]) -> list[Ranks]:
    """Rank the methods of all tables, for each unit that budgets are counted in."""
    cells: dict[str, dict[Cell, dict[str, float]]] = defaultdict(dict)
    for (dataset, model), table in by_table(rows).items():
        for (asked, unit), group in by_budget(table).items():
            means = _complete(rivals(group))
            if means and unit and isinstance(asked, float | int):
                cells[unit][dataset, model, asked] = means
    ranked = [_ranks(unit, found) for unit, found in sorted(cells.items())]
    return [ranks for ranks in ranked if ranks]


def _complete(rows: Mapping[Row, Mapping[int, float]]) -> dict[str, float]:
    """The mean errors of the rows that have all the seeds of their cell."""
    most = max((len(values) for values in rows.values()), default=0)
    return {
        row.name: stats.mean(values.values()) for row, values in rows.items() if len(values) == most
    }


def _ranks(unit: str, cells: Mapping[Cell, Mapping[str, float]]) -> Ranks | None:
    counts = {
        name: sum(name in cell for cell in cells.values())
        for name in sorted({name for cell in cells.values() for name in cell})
    }
    whole = [name for name, count in counts.items() if count == len(cells)]
    if len(whole) < 2:
        return None
    titles = [f"{model} on {dataset}, {text.asked(asked, unit)}" for dataset, model, asked in cells]
    return Ranks(
        unit,
        stats.rank({name: [cell[name] for cell in cells.values()] for name in whole}),
        tuple(titles),
        tuple((name, count) for name, count in counts.items() if count < len(cells)),
    )
