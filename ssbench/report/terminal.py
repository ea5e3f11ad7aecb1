"""The table as it is shown in a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ssbench.report.records import load
from ssbench.report.rows import rows
from ssbench.report.tables import HEADERS, tables

RIGHT = 2
"""The first of the columns that hold numbers."""


def terminal_table(folder: Path) -> Group:
    """Build the tables of a results folder for a rich console."""
    parts: list[Table | Text] = []
    for found in tables(rows(load(folder))):
        shown = Table(title=f"{found.model} on {found.dataset}")
        for index, header in enumerate(HEADERS):
            shown.add_column(header, justify="left" if index < RIGHT else "right")
        for line in found.lines:
            if line.starts_group:
                shown.add_section()
            shown.add_row(
                *[
                    Text(cell.text, style="bold" if cell.bold else "").append(
                        f" {cell.mark}" if cell.mark else "", style="dim"
                    )
                    for cell in line.cells
                ]
            )
        parts.append(shown)
        parts += [Text(f"{mark}  {text}", style="dim") for mark, text in found.notes.items()]
        parts.append(Text(found.caption, style="dim"))
    return Group(*parts)
