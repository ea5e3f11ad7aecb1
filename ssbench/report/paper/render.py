"""Render folders of records as the files of one of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbench.analysis import wording
from ssbench.analysis.notes import superseded
from ssbench.analysis.published import Published
from ssbench.analysis.rows import Row, make_rows
from ssbench.errors import BadInputError
from ssbench.report.figures.embed import as_json
from ssbench.report.formats import latex
from ssbench.report.formats.csv import Cell, frame, identity, measured, quoted
from ssbench.report.formats.drilldown import drilldown
from ssbench.report.formats.environment import check, environment, write
from ssbench.report.page import SETUP, facts
from ssbench.report.paper.tables import PaperTable, make_tables
from ssbench.storage.records import RunRecords, read_runs

NEEDS: Mapping[int, str] = {
    1: "a pruned network with a result",
    2: "a pruned network with a result",
    3: "a pruned network with a result, and a dense one of another model on its data set (among "
    "the records, or published)",
}
"""What each table needs to have something to show, by the table's number."""


@dataclass(frozen=True)
class PaperPage:
    """One of the paper's tables for every data set, and facts on the runs."""

    title: str
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    tables: tuple[PaperTable, ...]


def render_table(
    number: int,
    folders: Sequence[Path],
    out: Path,
    formats: Sequence[str],
    published: Sequence[Published] = (),
) -> list[Path]:
    """Write one of the paper's tables, for one experiment or several together.

    Args:
        number: a key of `NEEDS`.
        folders: folders of records, one per experiment; they are only read.
        out: the folder for ``table1.md`` etc.; made if missing.
        formats: some of `ssbench.report.FORMATS`.
        published: rows of the literature; the table shows those of its networks.

    Returns:
        The files written.

    Raises:
        BadInputError: as `ssbench.report.render`, or nothing fits in the table.
    """
    check(formats)
    if number not in NEEDS:
        raise BadInputError(f"table {number}: known: {', '.join(map(str, NEEDS))}")
    page = _page(number, folders, published)
    return write(
        out, {f"table{number}.{kind}": _content(page, kind) for kind in dict.fromkeys(formats)}
    )


def _page(number: int, folders: Sequence[Path], published: Sequence[Published]) -> PaperPage:
    rows: list[Row] = []
    older: list[RunRecords] = []
    for folder in folders:
        more, replaced = make_rows(read_runs(folder))
        rows += more
        older += replaced
    tables = make_tables(number, rows, published)
    if not tables:
        names = wording.listing([str(folder) for folder in folders])
        raise BadInputError(f"{names}: nothing fits in table {number}, which needs {NEEDS[number]}")
    experiments = wording.listing(list(dict.fromkeys(row.like.experiment for row in rows)))
    return PaperPage(
        f"Table {number}: {experiments}",
        tuple(facts(rows)),
        tuple(superseded(older)),
        tuple(tables),
    )


def _content(page: PaperPage, kind: str) -> bytes:
    if kind == "csv":
        return frame([line for table in page.tables for line in _raw(table)]).encode()
    template = environment(kind).get_template(f"table.{kind}.j2")
    runs = as_json(drilldown({t.label: t.ordered for t in page.tables})) if kind == "html" else ""
    return template.render(page=page, siunitx=latex, runs=runs, setup=SETUP).encode()


def _raw(table: PaperTable) -> list[dict[str, Cell]]:
    """Return the raw numbers of a table, one line per row."""
    lines = []
    for row in table.rows:
        best: dict[str, Cell] = {f"best_{key}": row in rows for key, rows in table.bold.items()}
        lines.append(identity(row) | best | measured(row))
    return [{"table": table.number} | line for line in (*lines, *map(quoted, table.published))]
