"""Rows -> the cells of one (data set, model)'s table, the same for all formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssbench.report import text
from ssbench.report.captions import table_caption
from ssbench.report.notes import Note, notes, warnings
from ssbench.report.rows import Row, best, by_budget


@dataclass(frozen=True)
class Column:
    """A column of text beside the error."""

    title: str
    write: Callable[[Row], str]


@dataclass(frozen=True)
class Line:
    """One row as text: ``error`` is 'failed' where no run has a result.

    ``cells`` stand under `COLUMNS`, ``extra`` under `EXTRA`, ``surgery`` under `SURGERY`.
    """

    name: str
    marks: str
    error: str
    bold: bool
    n: str
    cells: tuple[str, ...]
    extra: tuple[str, ...]
    surgery: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The rows of one budget."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Layers:
    """Per-layer kept shares of one budget: in percent, and as shares or None."""

    title: str
    lines: tuple[tuple[str, tuple[tuple[str, float | None], ...]], ...]


@dataclass(frozen=True)
class Table:
    """Everything that is printed of one (data set, model), but its figure."""

    dataset: str
    model: str
    caption: str
    titles: tuple[str, ...]
    extra_titles: tuple[str, ...]
    surgery_titles: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]
    warnings: tuple[str, ...]
    layer_names: tuple[str, ...]
    layers: tuple[Layers, ...]


def _mean(key: str) -> Callable[[Row], float | None]:
    def get(row: Row) -> float | None:
        spread = row.spread(key)
        return spread.mean if spread else None

    return get


def _share(unit: str, *, pruned: bool) -> Callable[[Row], str]:
    def write(row: Row) -> str:
        kept = row.kept(unit)
        if kept is None:
            return text.ABSENT
        return text.percent(1 - kept.mean if pruned else kept.mean)

    return write


def _count(key: str) -> Callable[[Row], str]:
    get = _mean(key)
    return lambda row: text.count(get(row))


def _epochs(row: Row) -> str:
    totals = sorted(set(row.values("epochs_total").values()))
    return "/".join(f"{total:.0f}" for total in totals) or text.ABSENT


def _threshold(row: Row) -> str:
    return text.number(_mean("threshold")(row))


def _before(row: Row) -> str:
    return text.error(row.before("test_top1_error"))


def _difference(row: Row) -> str:
    spread = row.spread("surgery_difference")
    if spread is None:
        return text.ABSENT
    return f"{spread.high:.0e}" if spread.high else "0"


COLUMNS = (
    Column("params", _count("params_nonzero")),
    Column("pruned %", _share("params", pruned=True)),
    Column("connections kept %", _share("connections", pruned=False)),
    Column("MACs", _count("macs_nonzero")),
    Column("pruned %", _share("macs", pruned=True)),
    Column("epochs", _epochs),
    Column("threshold", _threshold),
)
"""What every format prints."""
EXTRA = (
    Column("error % before finetuning", _before),
    Column("params after surgery", _count("params_compact")),
    Column("MACs after surgery", _count("macs_compact")),
)
"""What is printed where there is room."""
SURGERY = (
    Column("params", _count("params_compact")),
    Column("connections", _count("connections_compact")),
    Column("MACs", _count("macs_compact")),
    Column("batch-norm operations", _count("norm_ops_compact")),
    Column("pooling operations", _count("pool_ops_compact")),
    Column("bytes", _count("bytes_compact")),
    Column("bytes, sparse format", _count("bytes_sparse")),
    Column("of these index", _count("bytes_index")),
    Column("change of outputs", _difference),
)
"""A table of its own: the network without its silent channels, and the proof that it is one."""


def make_table(rows: Sequence[Row]) -> Table:
    """Make the table of the rows of one (data set, model), given in printing order."""
    found = notes(rows)
    names = sorted({n for row in rows for run in row.done for n in run.final.layers}, key=_natural)
    groups = by_budget(rows)
    layers = [_layers(text.asked(*budget), group, names) for budget, group in groups.items()]
    return Table(
        dataset=rows[0].like.dataset,
        model=rows[0].like.model,
        caption=table_caption(rows),
        titles=tuple(column.title for column in COLUMNS),
        extra_titles=tuple(column.title for column in EXTRA),
        surgery_titles=tuple(column.title for column in SURGERY),
        groups=tuple(_group(budget, found) for budget in groups.values()),
        notes=tuple(found),
        warnings=tuple(warnings(rows)),
        layer_names=tuple(names),
        layers=tuple(layer for layer in layers if layer.lines),
    )


def _group(rows: Sequence[Row], found: Sequence[Note]) -> Group:
    bold = best(rows)
    lines = [
        Line(
            name=row.name,
            marks="".join(note.mark for note in found if row in note.rows),
            error=text.error(row.spread("test_top1_error")) if row.done else "failed",
            bold=row in bold,
            n=str(len(row.done)),
            cells=tuple(column.write(row) for column in COLUMNS),
            extra=tuple(column.write(row) for column in EXTRA),
            surgery=tuple(column.write(row) for column in SURGERY),
        )
        for row in rows
    ]
    return Group(text.asked(*rows[0].budget), tuple(lines))


def _layers(title: str, rows: Sequence[Row], names: Sequence[str]) -> Layers:
    """Average the kept share of each layer over the seeds of each row."""
    lines = []
    for row in rows:
        shares = [_layer(row, name) for name in names]
        if any(share is not None for share in shares):
            cells = tuple((text.percent(share), share) for share in shares)
            lines.append((row.name, cells))
    return Layers(title, tuple(lines))


def _natural(name: str) -> list[tuple[int, str]]:
    """Order by numbers as numbers: records are written with sorted keys, 10 before 2."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def _layer(row: Row, name: str) -> float | None:
    shares = [run.final.layers[name] for run in row.done if name in run.final.layers]
    return sum(shares) / len(shares) if shares else None
