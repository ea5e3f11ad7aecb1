"""Turn rows into the cells of one (data set, model)'s table, the same for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ssbench.analysis import wording
from ssbench.analysis.dead_layers import layers_in_order
from ssbench.analysis.gaps import TITLES, gaps
from ssbench.analysis.notes import Note, notes, warnings
from ssbench.analysis.published import Published, matching
from ssbench.analysis.rows import Row, best, by_budget, printed
from ssbench.report import citations, selection
from ssbench.report.captions import short_caption, table_caption
from ssbench.report.columns import (
    MACS,
    MACS_PRUNED,
    PARAMS,
    PARAMS_PRUNED,
    Column,
    counted,
    kept,
    top1,
)
from ssbench.storage.view import USUAL, View

Part = Literal["usual", "extra", "gaps", "surgery"]


@dataclass(frozen=True)
class Line:
    """One row as text: ``error`` is 'failed' if no run has a result.

    ``cells`` holds the cells of each part of a table.
    """

    name: str
    marks: str
    error: str
    bold: bool
    n: str
    cells: Mapping[Part, tuple[str, ...]]


@dataclass(frozen=True)
class Group:
    """The rows of one budget, or the published ones."""

    title: str
    lines: tuple[Line, ...]
    published: bool = False


@dataclass(frozen=True)
class Layers:
    """Kept shares per layer of one budget: in percent, and as shares or None."""

    title: str
    lines: tuple[tuple[str, tuple[tuple[str, float | None], ...]], ...]


@dataclass(frozen=True)
class Table:
    """All printed content of one (data set, model), except its figure."""

    dataset: str
    model: str
    caption: str
    titles: Mapping[Part, tuple[str, ...]]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]
    sources: tuple[Note, ...]
    warnings: tuple[str, ...]
    layer_names: tuple[str, ...]
    layers: tuple[Layers, ...]
    shown: tuple[Row, ...]
    """The rows of the groups, in their order."""

    @property
    def compared(self) -> bool:
        """Whether any two rows compete at one budget."""
        cells = [cell for g in self.measured for line in g.lines for cell in line.cells["gaps"]]
        return any(cell != wording.ABSENT for cell in cells)

    @property
    def measured(self) -> tuple[Group, ...]:
        """The groups of measured rows."""
        return tuple(group for group in self.groups if not group.published)


def _epochs(row: Row) -> str:
    totals = sorted(set(row.values("epochs_total").values()))
    return "/".join(f"{total:.0f}" for total in totals) or wording.ABSENT


def _threshold(row: Row) -> str:
    return wording.number(row.mean("threshold"))


def _before(row: Row) -> str:
    return wording.error(row.before("test_top1_error"))


def _difference(row: Row) -> str:
    spread = row.spread("surgery_difference")
    if spread is None:
        return wording.ABSENT
    return f"{spread.high:.0e}" if spread.high else "0"


ERROR = top1("test error %")
COLUMNS: Mapping[Part, tuple[Column, ...]] = {
    "usual": (
        PARAMS,
        PARAMS_PRUNED,
        Column("connections kept %", kept("connections")),
        MACS,
        MACS_PRUNED,
        Column("epochs", _epochs),
        Column("threshold", _threshold),
    ),
    "extra": (Column("error % before finetuning", _before),),
    "surgery": (
        Column("params", counted("params_compact")),
        Column("connections", counted("connections_compact")),
        Column("MACs", counted("macs_compact")),
        Column("batch-norm operations", counted("norm_ops_compact")),
        Column("pooling operations", counted("pool_ops_compact")),
        Column("bytes", counted("bytes_compact")),
        Column("bytes, sparse format", counted("bytes_sparse")),
        Column("of these index", counted("bytes_index")),
        Column("change of outputs", _difference),
    ),
}
"""Columns of every format; columns for wide formats; and columns of the table after surgery."""


def make_table(
    rows: Sequence[Row], published: Sequence[Published] = (), view: View = USUAL
) -> Table:
    """Make the table of one (data set, model) from its rows in printing order.

    A row without a floor is left out if its twin with a floor is the same network.

    Args:
        rows: at least one.
        published: rows of the literature; those of this network and data set come last.
        view: what is shown, and how; bold and differences are by all rows.

    Raises:
        BadInputError: the view names an unknown column.
    """
    like = rows[0].like
    cited = citations.cite(matching(published, like.dataset, like.model))
    every = printed(rows)
    columns = _columns(view)
    groups = [_Budget(group, _arranged(group, view)) for group in by_budget(every).values()]
    groups = [group for group in groups if group.shown]
    visible = [row for group in groups for row in group.shown]
    found = notes(visible)
    names = layers_in_order(visible)
    layers = [_layers(group.title, group.shown, names) for group in groups]
    full = " ".join([table_caption(rows), *cited.caption])
    hidden = len(every) - len(visible)
    return Table(
        dataset=like.dataset,
        model=like.model,
        caption=selection.caption(full, short_caption(rows), view, hidden),
        titles={part: tuple(c.title for c in cs) for part, cs in columns.items()}
        | {"gaps": TITLES},
        groups=(*(_group(group, found, columns) for group in groups), *_published(cited, columns)),
        notes=tuple(found),
        sources=cited.notes,
        warnings=tuple(warnings(rows)),
        layer_names=tuple(names),
        layers=tuple(layer for layer in layers if layer.lines),
        shown=tuple(visible),
    )


Columns = Mapping[Part, Sequence[Column]]
USUAL_COLUMNS = (*COLUMNS["usual"], *COLUMNS["extra"])
"""The columns of the widest format."""


def _columns(view: View) -> Columns:
    """Return the columns of each part; chosen ones take the place of the usual and the extra."""
    chosen = selection.chosen(view, USUAL_COLUMNS)
    if chosen is None:
        return COLUMNS
    return {**COLUMNS, "usual": [each.column for each in chosen], "extra": ()}


@dataclass(frozen=True)
class _Budget:
    """All rows of one budget, and those that are shown."""

    rows: Sequence[Row]
    shown: Sequence[Row]

    @property
    def title(self) -> str:
        return wording.asked(*self.rows[0].budget)


def _arranged(rows: Sequence[Row], view: View) -> list[Row]:
    return selection.sorted_rows(selection.shown(rows, view), view, USUAL_COLUMNS)


def arranged(rows: Sequence[Row], view: View) -> list[Row]:
    """Return the rows that a view shows, budget by budget in its order."""
    return [row for group in by_budget(rows).values() for row in _arranged(group, view)]


def csv_columns(view: View) -> list[str] | None:
    """Return the columns of the CSV that a view asks for; None: all."""
    chosen = selection.chosen(view, USUAL_COLUMNS)
    return None if chosen is None else [key for each in chosen for key in each.csv]


def _group(budget: _Budget, found: Sequence[Note], columns: Columns) -> Group:
    bold, apart = best(budget.rows), gaps(budget.rows)
    lines = [
        Line(
            name=row.name,
            marks="".join(note.mark for note in found if row in note.rows),
            error=ERROR.write(row),
            bold=row in bold,
            n=str(len(row.done)),
            cells=_cells(row, columns) | {"gaps": apart.get(row, (wording.ABSENT,) * len(TITLES))},
        )
        for row in budget.shown
    ]
    return Group(budget.title, tuple(lines))


def _cells(row: Row, columns: Columns) -> dict[Part, tuple[str, ...]]:
    return {part: tuple(column.write(row) for column in cs) for part, cs in columns.items()}


def _published(cited: citations.Cited, columns: Columns) -> list[Group]:
    lines = [
        Line(
            name=quote.name,
            marks=marks,
            error=ERROR.quote(quote),
            bold=False,
            n=wording.ABSENT,
            cells={part: tuple(c.quote(quote) for c in cs) for part, cs in columns.items()},
        )
        for quote, marks in cited.marks.items()
    ]
    return [Group("published", tuple(lines), published=True)] if lines else []


def _layers(title: str, rows: Sequence[Row], names: Sequence[str]) -> Layers:
    """Average the kept share of each layer over the seeds of each row."""
    lines = []
    for row in rows:
        shares = [_layer(row, name) for name in names]
        if any(share is not None for share in shares):
            cells = tuple((wording.percent(share), share) for share in shares)
            lines.append((row.name, cells))
    return Layers(title, tuple(lines))


def _layer(row: Row, name: str) -> float | None:
    shares = [run.final.layers[name] for run in row.done if name in run.final.layers]
    return sum(shares) / len(shares) if shares else None
