"""Rows to the cells of a table in the style of Table 1 of the synaptic strength paper."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from ssbench import stats
from ssbench.report.rows import Row

HEADERS = (
    "Method", "Kept (asked)", "Test error %", "n", "Params", "Pruned %", "Connections kept %",
    "MACs", "Pruned %", "Epochs", "Threshold",
)  # fmt: skip
TOLERANCE = 0.005
"""A budget missed by more than this, relatively, is marked."""


@dataclass(frozen=True)
class Cell:
    """One cell; plain text, which each format escapes in its own way."""

    text: str
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    row: Row
    cells: tuple[Cell, ...]
    starts_group: bool


@dataclass
class Table:
    """All lines of one (data set, model)."""

    dataset: str
    model: str
    lines: list[Line]
    caption: str
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A name for references and files."""
        return f"{self.dataset}-{self.model}"

    @property
    def layers(self) -> list[str]:
        """The layers that any row says something of."""
        return list(dict.fromkeys(layer for line in self.lines for layer in line.row.layers))


def tables(found: Sequence[Row]) -> list[Table]:
    """Make one table per (data set, model)."""
    groups = itertools.groupby(found, key=lambda row: (row.dataset, row.model))
    return [_table(dataset, model, list(group)) for (dataset, model), group in groups]


def winners(found: Sequence[Row]) -> set[tuple[str, str | None, str]]:
    """The keys of those rows that are best at their budget, or not to be told from the best.

    Rows compete with rows of the same asked share; the dense network does not take part, and
    a budget with a single row has no winner.
    """
    result: set[tuple[str, str | None, str]] = set()
    pruned = [row for row in found if row.asked is not None]
    for _, group in itertools.groupby(pruned, key=lambda row: row.asked):
        rivals = list(group)
        if len(rivals) > 1:
            images = min((row.test_images for row in rivals if row.n), default=1)
            result |= stats.best({row.key: row.errors for row in rivals}, images)
    return result


def _table(dataset: str, model: str, found: list[Row]) -> Table:
    bold, notes = winners(found), _Notes()
    lines, before = [], None
    for row in found:
        starts = before is not None and before.asked != row.asked
        lines.append(Line(row, _cells(row, row.key in bold, notes), starts))
        before = row
    return Table(dataset, model, lines, _caption(dataset, model, found), notes.texts)


class _Notes:
    """Footnotes, the same text under one letter."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def mark(self, text: str) -> str:
        known = {value: key for key, value in self.texts.items()}
        if text not in known:
            number = len(self.texts)
            letters = "abcdefghijklmnopqrstuvwxyz"
            known[text] = letters[number % 26] * (number // 26 + 1)
            self.texts[known[text]] = text
        return known[text]


def _cells(row: Row, bold: bool, notes: _Notes) -> tuple[Cell, ...]:
    marks = [notes.mark(f"failed, seed {seed}: {why}") for seed, why in row.failures.items()]
    if not row.n:
        return (Cell(row.label), Cell(asked(row)), Cell("failed", mark=",".join(marks)), Cell("0"))
    if row.collapsed:
        marks.append(notes.mark(f"a layer lost all its weights in {row.collapsed} of {row.n} runs"))
    return (
        Cell(row.label),
        Cell(asked(row), mark=_missed(row, notes)),
        Cell(spread(row.mean("test_top1_error"), row.deviation("test_top1_error")), bold,
             ",".join(marks)),
        Cell(str(row.n)),
        Cell(size(row.mean("params_nonzero"))),
        Cell(percent(_pruned(row.share("params")))),
        Cell(percent(row.share("connections"))),
        Cell(size(row.mean("macs_nonzero"))),
        Cell(percent(_pruned(row.share("macs")))),
        Cell(number(row.mean("epochs_total"))),
        Cell(number(row.mean("threshold"))),
    )  # fmt: skip


def _pruned(share: float | None) -> float | None:
    return None if share is None else 1 - share


def _missed(row: Row, notes: _Notes) -> str:
    """Mark a budget that the grain did not allow to reach, with what was reached."""
    reached = row.column("budget_reached")
    if not isinstance(row.asked, float) or not reached:
        return ""
    worst = max(reached.values(), key=lambda value: abs(value - float(row.asked or 0)))
    if abs(worst - row.asked) <= TOLERANCE * row.asked:
        return ""
    return notes.mark("reached only to within more than 0.5 % of the asked share (see the CSV)")


def asked(row: Row) -> str:
    """Write what was asked for."""
    if row.asked is None:
        return "100 %"
    share = row.asked if isinstance(row.asked, str) else f"{100 * row.asked:g} %"
    return f"{share} {row.unit}"


def spread(middle: float | None, sd: float | None) -> str:
    """Write a mean with its sample standard deviation."""
    if middle is None:
        return "–"  # noqa: RUF001
    return f"{middle:.2f}" if sd is None else f"{middle:.2f} ± {sd:.2f}"


def percent(share: float | None) -> str:
    """Write a share from 0 to 1 in percent."""
    return "–" if share is None else f"{100 * share:.1f}"  # noqa: RUF001


def size(value: float | None) -> str:
    """Write a count with three or four digits and a unit."""
    if value is None:
        return "–"  # noqa: RUF001
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.2f}{unit}"
    return f"{value:.0f}"


def number(value: float | None) -> str:
    """Write a number with three digits."""
    return "–" if value is None else f"{value:.3g}"  # noqa: RUF001


def _caption(dataset: str, model: str, found: list[Row]) -> str:
    seeds = sorted({row.n for row in found if row.n})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}" if seeds else ""
    epochs = sorted({value for row in found for value in row.column("epochs_total").values()})
    same = (
        f"All rows have {epochs[0]:.0f} epochs in total."
        if len(epochs) == 1
        else "WARNING: total epochs differ between rows."
    )
    rule = (
        "Bold: lowest mean test error among the rows with the same asked share, or not "
        "distinguishable from it: the 95 % interval of the paired difference contains 0 "
        "(Student's t under ten seeds, bootstrap from ten on) and it is not worse at every seed "
        "by more than the test images' sampling error."
    )
    return (
        f"{model} on {dataset}. Test error of the last epoch, mean ± sample standard deviation "
        f"over {n} seeds. Params and connections: nonzero ones, connections being 2-D kernels. "
        "MACs: nonzero weights of convolutions and linear layers, one image, 1 per multiply-add. "
        f"{same} {rule} {_gap(found)} {_units(found)}"
    ).strip()


def _units(found: list[Row]) -> str:
    """Warn where budgets of one group are shares of different things."""
    units = sorted({row.unit for row in found if row.unit})
    if len(units) < 2:
        return ""
    return (
        f"Rows of one group have the same asked share, but of {' or '.join(units)}: compare their "
        "params and MACs too."
    )


def _gap(found: list[Row]) -> str:
    if max((row.n for row in found), default=0) < 2:
        return "One seed separates nothing: bold is only the lowest value."
    pruned = [row for row in found if row.asked is not None]
    gaps = [
        stats.separable({row.key: row.errors for row in group})
        for _, group in itertools.groupby(pruned, key=lambda row: row.asked)
    ]
    known = [gap for gap in gaps if gap is not None]
    if not known:
        return ""
    return (
        f"The gap to the best that these seeds can separate is, by budget, {min(known):.2f} to "
        f"{max(known):.2f} points (median over rows)."
    )
