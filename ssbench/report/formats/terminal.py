"""Print rows as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ssbench.analysis.published import Published
from ssbench.analysis.rows import by_table, make_rows
from ssbench.report.tables import Table, make_table
from ssbench.storage.records import read_runs
from ssbench.storage.view import kept

WIDE = 140
"""The console width, in characters, that all columns need."""
_MATTER_MOST = (1, 4)
"""The columns on narrow consoles: the pruned shares of params and MACs."""


def terminal_table(folder: Path, width: int = WIDE, published: Sequence[Published] = ()) -> Group:
    """Return the tables of an experiment's folder, for a rich console.

    Args:
        folder: the folder of records.
        width: the console's, in characters; below `WIDE` some columns are left out.
        published: rows of the literature; a table shows those of its network and data set.

    Raises:
        BadInputError: no records, a line that is not a record, or several experiments.
    """
    rows, _ = make_rows(read_runs(folder))
    view = kept(folder)
    parts: list[RenderableType] = []
    for group in by_table(rows).values():
        table = make_table(group, published, view)
        usual = dict(enumerate(table.titles["usual"]))
        few = view.columns is None and width < WIDE
        shown = {place: usual[place] for place in _MATTER_MOST} if few else usual
        parts.append(_table(table, shown))
        parts += [Text(warning, style="yellow") for warning in table.warnings]
        parts += [
            Text(f"{note.mark} {note.text}", style="dim") for note in (*table.notes, *table.sources)
        ]
        parts += [Text(table.caption, style="dim")] if table.caption else []
    return Group(*parts)


def _table(table: Table, shown: dict[int, str]) -> RichTable:
    what = Text(f"{table.model} on {table.dataset}")
    result = RichTable(title=what, title_justify="left", box=SIMPLE, collapse_padding=True)
    result.add_column("budget", no_wrap=True)
    result.add_column("method", overflow="fold")
    for title in ("test error %", "n", *shown.values()):
        result.add_column(title.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for group in table.groups:
        for position, line in enumerate(group.lines):
            result.add_row(
                group.title if position == 0 else "",
                Text(f"{line.name} {line.marks}".strip()),
                Text(line.error, style="bold" if line.bold else ""),
                line.n,
                *(line.cells["usual"][index] for index in shown),
                end_section=position == len(group.lines) - 1,
                style="dim italic" if group.published else None,
            )
    return result
