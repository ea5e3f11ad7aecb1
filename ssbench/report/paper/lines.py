"""Turn measured and published rows into the lines of a table that spans several networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ssbench.analysis import wording
from ssbench.analysis.notes import Note
from ssbench.analysis.published import Published
from ssbench.analysis.rows import Row
from ssbench.report.citations import Cited
from ssbench.report.columns import Column


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and whether it is bold."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Line:
    """One row as text; ``row`` is the measured row, None for a published one."""

    model: str
    variant: str
    marks: str
    cells: tuple[Cell, ...]
    row: Row | None = None


@dataclass(frozen=True)
class Group:
    """Lines printed together: of one budget, or published ones."""

    lines: tuple[Line, ...]
    published: bool = False


@dataclass(frozen=True)
class Writer:
    """Writes the lines of one table.

    Attributes:
        columns: the columns after network and variant.
        titles: the name of each row's network.
        bold: by error key, the rows that are bold in its column.
        notes: the footnotes on measured rows.
        cited: the published rows with their footnotes.
    """

    columns: Sequence[Column]
    titles: Mapping[Row, str]
    bold: Mapping[str, set[Row]]
    notes: Sequence[Note]
    cited: Cited

    def measured(self, rows: Sequence[Row]) -> Group:
        """Write measured rows."""
        return Group(tuple(self._row(row) for row in rows))

    def quoted(self, published: Sequence[Published]) -> list[Group]:
        """Write published rows as one group; without rows, none."""
        lines = tuple(self._quote(quote) for quote in published)
        return [Group(lines, published=True)] if lines else []

    def _row(self, row: Row) -> Line:
        budget = "" if row.is_dense else f", {wording.asked(*row.budget)}"
        return Line(
            model=self.titles[row],
            variant=f"{row.name}{budget}",
            marks="".join(note.mark for note in self.notes if row in note.rows),
            cells=tuple(
                Cell(column.write(row), row in self.bold.get(column.error or "", ()))
                for column in self.columns
            ),
            row=row,
        )

    def _quote(self, quote: Published) -> Line:
        cells = tuple(Cell(column.quote(quote)) for column in self.columns)
        return Line(f"{quote.line.model}, published", quote.name, self.cited.marks[quote], cells)


def without_repeats(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Name a network only in the first of its consecutive lines."""
    above, result = "", []
    for group in groups:
        lines = []
        for line in group.lines:
            lines.append(replace(line, model="" if line.model == above else line.model))
            above = line.model
        result.append(replace(group, lines=tuple(lines)))
    return tuple(result)


def pages(groups: Sequence[Group], size: int) -> list[list[Group]]:
    """Split groups into pages of at most ``size`` lines; cut only a group that has more."""
    pages: list[list[Group]] = [[]]
    for group in groups:
        for start in range(0, len(group.lines), size):
            piece = replace(group, lines=group.lines[start : start + size])
            if sum(len(other.lines) for other in (*pages[-1], piece)) > size:
                pages.append([])
            pages[-1].append(piece)
    return [page for page in pages if page]


def titles(rows: Sequence[Row]) -> dict[Row, str]:
    """Name each row's network by its model; add the experiment if several have this model."""
    experiments: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        experiments[row.like.model].add(row.like.experiment)
    return {
        row: f"{row.like.model} ({row.like.experiment})"
        if len(experiments[row.like.model]) > 1
        else row.like.model
        for row in rows
    }


def caller(titles: Mapping[Row, str]) -> Callable[[Row], str]:
    """Return a function that names a row in footnotes, with its network if there are several."""
    several = len(set(titles.values())) > 1
    return lambda row: f"{titles[row]}: {row.name}" if several else row.name
