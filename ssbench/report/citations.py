"""Footnotes of published rows: where each comes from, and how its FLOPs became MACs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, product
from string import ascii_lowercase

from ssbench.analysis.notes import Note
from ssbench.analysis.published import Line, Published

CAPTION = (
    "In italics: published rows, each from the source in its note and not measured here. Data "
    "pipeline, recipe and choice of the epoch are the source's, and so they take no part in bold, "
    "ranks or intervals."
)
SHARES = "What is pruned of them is a share of the source's own dense network."


@dataclass(frozen=True)
class Cited:
    """Published rows in printing order with their marks, what these stand for, and the caption."""

    marks: Mapping[Published, str]
    notes: tuple[Note, ...]
    caption: tuple[str, ...]


def cite(published: Sequence[Published], *, shares: bool = True) -> Cited:
    """Give published rows their footnotes: first the sources, then the remarks on single rows.

    Args:
        published: in printing order.
        shares: whether the table says which share of a network is pruned.
    """
    said = {quote: _words(quote, shares=shares) for quote in published}
    # Sources come before remarks, each in order of first appearance.
    ordered = dict.fromkeys(
        [words[0] for words in said.values()] + [w for words in said.values() for w in words]
    )
    marks = dict(zip(ordered, islice(_letters(), len(ordered)), strict=True))
    return Cited(
        {quote: ",".join(marks[w] for w in words) for quote, words in said.items()},
        tuple(Note(mark, words, ()) for words, mark in marks.items()),
        (CAPTION, *([SHARES] if shares else [])) if said else (),
    )


def _letters() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ..."""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters)


def _words(quote: Published, *, shares: bool) -> list[str]:
    """The footnotes of one row, its source first."""
    line = quote.line
    found = [f"{line.source.rstrip('.')}. {_conversion(line)}"]
    if line.note:
        found.append(f"{line.note.rstrip('.')}.")
    if shares and quote.dense is None:
        found.append("No dense network of this source is known here, so no share that is pruned.")
    return found


def _conversion(line: Line) -> str:
    """Say how a row's MACs follow from what its source gives."""
    if line.flops is None:
        return "No FLOPs are known here, so no MACs."
    if line.flops_convention is None:
        return "What its FLOPs count a multiply-add as is unknown, so no MACs."
    if line.flops_convention == "mul+add":
        return "Its FLOPs count a multiply-add as 2 and are halved to MACs."
    return "Its FLOPs count a multiply-add as 1 and are MACs."
