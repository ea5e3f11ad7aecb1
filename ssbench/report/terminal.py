"""The table as it is shown in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ssbench.report.records import load
from ssbench.report.rows import rows
from ssbench.report.tables import HEADERS, tables

RIGHT = 2
"""The first of the columns that hold numbers."""
WIDE = 140
"""Characters that all columns need; narrower terminals get those that matter most."""
NARROW = (0, 1, 2, 5, 8)


def terminal_table(folder: Path, width: int = WIDE) -> Group:
    """Build the tables of a results folder for a rich console of so many characters."""
    chosen = range(len(HEADERS)) if width >= WIDE else NARROW
    parts: list[Table | Text] = []
    for found in tables(rows(load(folder))):
        shown = Table(title=f"{found.model} on {found.dataset}")
        for index in chosen:
            header = _name(index) if width < WIDE else HEADERS[index]
            justify: Literal["left", "right"] = "left" if index < RIGHT else "right"
            shown.add_column(header, justify=justify, overflow="fold")
        for line in found.lines:
            if line.starts_group:
                shown.add_section()
            shown.add_row(
                *[
                    Text(cell.text, style="bold" if cell.bold else "").append(
                        f" {cell.mark}" if cell.mark else "", style="dim"
                    )
                    for index, cell in enumerate(line.cells)
                    if index in chosen
                ]
            )
        parts.append(shown)
        parts += [Text(f"{mark}  {text}", style="dim") for mark, text in found.notes.items()]
        parts.append(Text(found.caption, style="dim"))
    return Group(*parts)


def _name(index: int) -> str:
    """A header that is clear without its left neighbour."""
    pruned = HEADERS[index] == "Pruned %"
    return f"{HEADERS[index - 1]} pruned %" if pruned else HEADERS[index]
