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
from ssbench.report import citations
from ssbench.report.captions import table_caption
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


def make_table(rows: Sequence[Row], published: Sequence[Published] = ()) -> Table:
    """Make the table of one (data set, model) from its rows in printing order.

    A row without a floor is left out if its twin with a floor is the same network.

    Args:
        rows: at least one.
        published: rows of the literature; those of this network and data set come last.
    """
    like = rows[0].like
    cited = citations.cite(matching(published, like.dataset, like.model))
    shown = printed(rows)
    found = notes(shown)
    titles: dict[Part, tuple[str, ...]] = {
        part: tuple(column.title for column in columns) for part, columns in COLUMNS.items()
    }
    names = layers_in_order(shown)
    groups = by_budget(shown)
    layers = [_layers(wording.asked(*budget), group, names) for budget, group in groups.items()]
    return Table(
        dataset=like.dataset,
        model=like.model,
        caption=" ".join([table_caption(rows), *cited.caption]),
        titles=titles | {"gaps": TITLES},
        groups=(*(_group(budget, found) for budget in groups.values()), *_published(cited)),
        notes=tuple(found),
        sources=cited.notes,
        warnings=tuple(warnings(rows)),
        layer_names=tuple(names),
        layers=tuple(layer for layer in layers if layer.lines),
    )


def _group(rows: Sequence[Row], found: Sequence[Note]) -> Group:
    bold, apart = best(rows), gaps(rows)
    lines = [
        Line(
            name=row.name,
            marks="".join(note.mark for note in found if row in note.rows),
            error=ERROR.write(row),
            bold=row in bold,
            n=str(len(row.done)),
            cells=_cells(row) | {"gaps": apart.get(row, (wording.ABSENT,) * len(TITLES))},
        )
        for row in rows
    ]
    return Group(wording.asked(*rows[0].budget), tuple(lines))


def _cells(row: Row) -> dict[Part, tuple[str, ...]]:
    return {part: tuple(column.write(row) for column in cs) for part, cs in COLUMNS.items()}


def _published(cited: citations.Cited) -> list[Group]:
    lines = [
        Line(
            name=quote.name,
            marks=marks,
            error=ERROR.quote(quote),
            bold=False,
            n=wording.ABSENT,
            cells={part: tuple(c.quote(quote) for c in cs) for part, cs in COLUMNS.items()},
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
