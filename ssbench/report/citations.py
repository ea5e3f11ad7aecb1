"""Footnotes of published rows: the source of each, and the conversion of its FLOPs to MACs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, product
from string import ascii_lowercase

from ssbench.analysis.notes import Note
from ssbench.analysis.published import Line, Published

CAPTION = (
    "In italics: published rows, each from the source in its note, not measured here. They take no "
    "part in bold, ranks or intervals, because data pipeline, recipe and choice of the epoch are "
    "the source's."
)
SHARES = "Their pruned shares refer to the source's own dense network."


@dataclass(frozen=True)
class Cited:
    """Published rows in printing order with their footnote marks, the footnotes and the caption."""

    marks: Mapping[Published, str]
    notes: tuple[Note, ...]
    caption: tuple[str, ...]


def cite(published: Sequence[Published], *, shares: bool = True) -> Cited:
    """Give published rows their footnotes: first the sources, then the remarks on single rows.

    Args:
        published: in printing order.
        shares: whether the table shows pruned shares.
    """
    texts = {quote: _words(quote, shares=shares) for quote in published}
    # Sources come before remarks, each in order of first appearance.
    ordered = dict.fromkeys(
        [words[0] for words in texts.values()] + [w for words in texts.values() for w in words]
    )
    marks = dict(zip(ordered, islice(_letters(), len(ordered)), strict=True))
    return Cited(
        {quote: ",".join(marks[w] for w in words) for quote, words in texts.items()},
        tuple(Note(mark, words, ()) for words, mark in marks.items()),
        (CAPTION, *([SHARES] if shares else [])) if texts else (),
    )


def _letters() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ..."""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters)


def _words(quote: Published, *, shares: bool) -> list[str]:
    """Return the footnotes of one row, its source first."""
    line = quote.line
    notes = [f"{line.source.rstrip('.')}. {_conversion(line)}"]
    if line.note:
        notes.append(f"{line.note.rstrip('.')}.")
    if shares and quote.dense is None:
        notes.append("No pruned share: the source's dense network is not listed here.")
    return notes


def _conversion(line: Line) -> str:
    """Say how a row's MACs follow from its source's numbers."""
    if line.flops is None:
        return "No MACs: its FLOPs are not listed here."
    if line.flops_convention is None:
        return "No MACs: whether its FLOPs count a multiply-add as 1 or 2 is unknown."
    if line.flops_convention == "mul+add":
        return "Its FLOPs count a multiply-add as 2 and are halved to MACs."
    return "Its FLOPs count a multiply-add as 1 and are MACs."
