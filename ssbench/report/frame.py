"""The rows of a report as a pandas table of numbers, which a notebook shows as reports print them.

>>> columns_of(row, ["test error %", "params"])
{'test error %': 1.93, 'params': 16402.3}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ssbench.analysis import wording
from ssbench.analysis.rows import Row, best, by_budget, by_table
from ssbench.errors import BadInputError, nearest
from ssbench.report.columns import Column
from ssbench.report.formats.csv import Cell, identity, measured
from ssbench.report.selection import choices, name_of
from ssbench.report.tables import COLUMNS as TABLE

if TYPE_CHECKING:
    import pandas as pd

Write = Callable[[Row], Cell]
ERROR, SD, BEST = "test error %", "± sd", "best"
INDEX = ("data set", "model", "budget", "method")


def _sd(row: Row) -> float | None:
    found = row.spread("test_top1_error")
    return found.sd if found else None


def _share(unit: str, *, pruned: bool = False) -> Write:
    def write(row: Row) -> float | None:
        left = row.kept(unit)
        if left is None:
            return None
        return 100 * (1 - left.mean if pruned else left.mean)

    return write


COLUMNS: Mapping[str, Write] = {
    ERROR: lambda row: row.mean("test_top1_error"),
    SD: _sd,
    "n": lambda row: len(row.done),
    "params": lambda row: row.mean("params_nonzero"),
    "params pruned %": _share("params", pruned=True),
    "connections kept %": _share("connections"),
    "MACs": lambda row: row.mean("macs_nonzero"),
    "MACs pruned %": _share("macs", pruned=True),
    "epochs": lambda row: row.mean("epochs_total"),
    "threshold": lambda row: row.mean("threshold"),
}
"""The columns of a report's table, as numbers: means over the seeds, shares in percent."""


def table(
    rows: Sequence[Row], columns: Sequence[str] | None, chosen_rows: Sequence[Row]
) -> pd.DataFrame:
    """Return rows as a table of numbers, with data set, model, budget and method as its index.

    Args:
        rows: all rows, in printing order: they decide which ones are best.
        columns: titles of `COLUMNS`, names of ``report --columns``, ``best`` (whether a report
            prints the error in bold), or columns of ``report.csv``; None: those of `COLUMNS`.
        chosen_rows: those to return.

    Raises:
        BadInputError: no such column; names similar ones.
    """
    chosen = list(COLUMNS if columns is None else columns)
    known = _known(rows[0])
    for title in chosen:
        if title not in known:
            raise BadInputError(
                f"columns: unknown {title!r}; {nearest(title, known, 'docs/command-line.md')}"
            )
    bold = {
        row
        for each in by_table(rows).values()
        for group in by_budget(each).values()
        for row in best(group)
    }
    lines = [
        columns_of(row, chosen) | ({BEST: row in bold} if BEST in chosen else {})
        for row in chosen_rows
    ]
    places = [
        (row.like.dataset, row.like.model, wording.asked(*row.budget), row.name)
        for row in chosen_rows
    ]
    return _shown(lines, places, chosen)


def columns_of(row: Row, titles: Sequence[str]) -> dict[str, Cell]:
    """Return the cells of a row by title."""
    writers = _writers()
    raw = {} if set(titles) <= writers.keys() else identity(row) | measured(row)
    return {title: writers[title](row) if title in writers else raw.get(title) for title in titles}


@cache
def _writers() -> dict[str, Write]:
    """Return the columns by title, and by their names on the command line."""
    found: dict[str, Write] = {name: c.value for name, c in choices(TABLE["usual"]).items()}
    found |= {name_of(Column(title, str)): write for title, write in COLUMNS.items()}
    return found | dict(COLUMNS)


def _known(row: Row) -> list[str]:
    return list(dict.fromkeys([*_writers(), BEST, *identity(row), *measured(row)]))


def _shown(
    lines: Sequence[Mapping[str, Cell]], places: Sequence[tuple[str, ...]], titles: Sequence[str]
) -> pd.DataFrame:
    import pandas as pd

    index = pd.MultiIndex.from_tuples(places, names=INDEX)
    return _kind()(lines, index=index, columns=list(titles))


@cache
def _kind() -> type[pd.DataFrame]:
    """Make the class of tables that notebooks show rounded, as are their parts."""
    import pandas as pd

    class RowTable(pd.DataFrame):
        """A table that notebooks show as reports print it; its cells keep all digits."""

        @property
        def _constructor(self) -> type[pd.DataFrame]:
            return RowTable

        def __reduce__(self) -> Any:
            return pd.DataFrame(self).__reduce__()  # the class has no address to unpickle it by

        def _repr_html_(self) -> str:
            formats: Any = {title: _FORMATS[title] for title in self.columns if title in _FORMATS}
            plain = pd.DataFrame(self)
            return str(plain.to_html(formatters=formats, na_rep=wording.ABSENT, border=0))

    return RowTable


def _written(write: Callable[[float], str]) -> Callable[[Any], str]:
    """Return ``write`` for cells that may be empty."""

    def cell(value: Any) -> str:
        if not isinstance(value, int | float) or math.isnan(value):
            return wording.ABSENT
        return write(float(value))

    return cell


_FORMATS = {
    ERROR: _written(lambda value: f"{value:.2f}"),
    SD: _written(lambda value: f"{value:.2f}"),
    "params": _written(wording.count),
    "params pruned %": _written(lambda value: wording.percent(value / 100)),
    "connections kept %": _written(lambda value: wording.percent(value / 100)),
    "MACs": _written(wording.count),
    "MACs pruned %": _written(lambda value: wording.percent(value / 100)),
    "epochs": _written(lambda value: f"{value:.0f}"),
    "threshold": _written(wording.number),
}
"""How a report prints a column's numbers."""
