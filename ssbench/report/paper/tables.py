"""The three tables of "Synaptic Strength For Convolutional Neural Network" (Lin et al. 2018).

The paper's columns with measured values: a table spans all networks of a data set and shows
published rows beside the measured ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from ssbench.analysis.notes import Note, notes, warnings
from ssbench.analysis.pareto import front_of_error
from ssbench.analysis.published import Published
from ssbench.analysis.rows import Row, best, by_budget, printed
from ssbench.report import citations
from ssbench.report.columns import (
    MACS,
    MACS_PRUNED,
    PARAMS,
    PARAMS_PRUNED,
    SEEDS,
    Column,
    top1,
    top5,
)
from ssbench.report.formats import latex
from ssbench.report.formats.escape import slug
from ssbench.report.paper import captions
from ssbench.report.paper.lines import Group, Writer, caller, pages, titles, without_repeats

_BOTH = (top1("top-1 error %"), top5("top-5 error %"), SEEDS, PARAMS, MACS)
COLUMNS: Mapping[int, tuple[Column, ...]] = {
    1: (top1("test error %"), SEEDS, PARAMS, PARAMS_PRUNED, MACS, MACS_PRUNED),
    2: _BOTH,
    3: _BOTH,
}
"""The columns of each table, after network and variant."""
PAGE, FEWEST, WIDTH = 48, 10, 90
"""Lines per printed page, minimum lines per table, and characters per line."""


@dataclass(frozen=True)
class PaperTable:
    """A table of one data set as text, with its measured and published rows.

    Attributes:
        bold: by error key, the rows that are bold in its column.
    """

    number: int
    dataset: str
    caption: str
    titles: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]
    sources: tuple[Note, ...]
    warnings: tuple[str, ...]
    rows: tuple[Row, ...]
    published: tuple[Published, ...]
    bold: Mapping[str, set[Row]]

    @property
    def label(self) -> str:
        """The key for references to the table."""
        return slug(f"{self.number}-{self.dataset}")

    @property
    def printed(self) -> tuple[Group, ...]:
        """The groups for a page of any length."""
        return without_repeats(self.groups)

    @property
    def ordered(self) -> tuple[Row, ...]:
        """The measured rows in the order of their lines."""
        return tuple(line.row for group in self.groups for line in group.lines if line.row)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The specification of each column for siunitx."""
        lines = [line for group in self.groups for line in group.lines]
        places = range(len(self.titles))
        return tuple(latex.column([line.cells[i].text for line in lines]) for i in places)

    @property
    def pages(self) -> list[tuple[Group, ...]]:
        """The groups for printed pages, which leave room for caption and notes."""
        texts = (self.caption, *(note.text for note in (*self.notes, *self.sources)))
        left = PAGE - sum(1 + len(text) // WIDTH for text in texts)
        return [without_repeats(page) for page in pages(self.groups, max(left, FEWEST))]


def make_tables(
    number: int, rows: Sequence[Row], published: Sequence[Published]
) -> list[PaperTable]:
    """Make a table for each data set that has something to show.

    Args:
        number: 1, networks and their pruned variants; 2, the same with both errors; 3, pruned
            networks among dense ones of other designs.
        rows: of one or several experiments, each in printing order.
        published: shown are those of the rows' networks, and in table 3 every dense network of the
            data set.
    """
    tables = []
    for dataset in dict.fromkeys(row.like.dataset for row in rows):
        own = [row for row in rows if row.like.dataset == dataset]
        models = {row.like.model for row in own}
        theirs = [
            quote
            for quote in published
            if quote.line.dataset == dataset
            and (quote.line.model in models or (number == 3 and quote.is_dense))
        ]
        if _fits(number, own, theirs):
            tables.append(
                _by_size(own, theirs) if number == 3 else _by_network(number, own, theirs)
            )
    return tables


def _fits(number: int, rows: Sequence[Row], published: Sequence[Published]) -> bool:
    """Whether there is a pruned network, and for table 3 a dense one of another design."""
    pruned = {row.like.model for row in rows if row.done and not row.is_dense}
    if number != 3:
        return bool(pruned)
    dense = {row.like.model for row in rows if row.done and row.is_dense}
    dense |= {quote.line.model for quote in published if quote.is_dense}
    return any(dense - {model} for model in pruned)


def _by_network(number: int, rows: Sequence[Row], published: Sequence[Published]) -> PaperTable:
    """Lay out table 1 or 2: network by network, budget by budget, the published rows last."""
    shown = printed(rows)
    names = titles(shown)
    networks: dict[str, list[Row]] = {}
    for row in sorted(shown, key=lambda row: names[row]):
        networks.setdefault(names[row], []).append(row)
    budgets = [list(by_budget(own).values()) for own in networks.values()]
    flat = [group for own in budgets for group in own]
    writer = Writer(
        COLUMNS[number],
        names,
        {key: set[Row]().union(*(best(group, key) for group in flat)) for key in _errors(number)},
        notes(shown, caller(names)),
        citations.cite(sorted(published, key=lambda quote: quote.line.model), shares=number == 1),
    )
    groups: list[Group] = []
    for place, own in enumerate(budgets):
        groups += [writer.measured(group) for group in own]
        model = own[0][0].like.model
        if all(later[0][0].like.model != model for later in budgets[place + 1 :]):
            groups += writer.quoted([q for q in writer.cited.marks if q.line.model == model])
    caption = captions.by_network(number, rows, flat)
    return _table(number, caption, writer, groups, shown)


def _by_size(rows: Sequence[Row], published: Sequence[Published]) -> PaperTable:
    """Lay out table 3: all networks in the order of their params, then the published rows."""
    shown = printed(rows)
    ordered, names = sorted(shown, key=_size), titles(shown)
    writer = Writer(
        COLUMNS[3],
        names,
        {key: front_of_error(ordered, key) for key in _errors(3)},
        notes(ordered, caller(names)),
        citations.cite(sorted(published, key=lambda quote: quote.line.params or inf), shares=False),
    )
    groups = [writer.measured(ordered), *writer.quoted(list(writer.cited.marks))]
    caption = captions.by_size(sorted(rows, key=_size))
    return _table(3, caption, writer, groups, ordered)


def _errors(number: int) -> list[str]:
    return [column.error for column in COLUMNS[number] if column.error]


def _size(row: Row) -> tuple[float, float]:
    params, error = row.mean("params_nonzero"), row.mean("test_top1_error")
    return inf if params is None else params, error or 0.0


def _table(
    number: int, caption: str, writer: Writer, groups: Sequence[Group], rows: Sequence[Row]
) -> PaperTable:
    cited = writer.cited
    return PaperTable(
        number=number,
        dataset=rows[0].like.dataset,
        caption=" ".join([caption, *cited.caption]),
        titles=tuple(column.title for column in writer.columns),
        groups=tuple(groups),
        notes=tuple(writer.notes),
        sources=cited.notes,
        warnings=tuple(warnings(rows)),
        rows=tuple(rows),
        published=tuple(cited.marks),
        bold=writer.bold,
    )
