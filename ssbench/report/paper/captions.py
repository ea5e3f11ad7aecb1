"""Captions of the paper's tables: what the columns count, and what bold means in each layout."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.analysis import wording
from ssbench.analysis.pareto import smaller
from ssbench.analysis.rows import UNFAIR, Row
from ssbench.report.captions import (
    bold_words,
    epochs_words,
    floor_words,
    gap_words,
    rule_words,
    spread_words,
)

_COUNTED = (
    "Params and MACs count nonzero weights, means over seeds. MACs replace FLOPs: convolution and "
    "linear layers, one image, 1 per multiply-add."
)
_ERRORS = ("test_top1_error", "test_top5_error")


def by_network(number: int, rows: Sequence[Row], budgets: Sequence[Sequence[Row]]) -> str:
    """Return the caption of table 1 or 2.

    Args:
        number: the table's number.
        rows: all rows that the table is about.
        budgets: the rows it shows, by network and budget; only rows of one group compete.
    """
    errors = "test error" if number == 1 else "top-1 and top-5 test error"
    sentences = [
        f"{_models(rows)} on {rows[0].like.dataset}, dense and pruned by each method: {errors} of "
        f"the last epoch in %{spread_words(rows)}.",
        "Variant: the method and the requested share.",
        _COUNTED,
        "Pruned: the share of the dense network that was removed." if number == 1 else "",
        epochs_words(rows),
        *floor_words(rows),
        *bold_words(budgets),
        _each(number, "Only rows of one network and budget compete."),
        *gap_words(rows),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def by_size(rows: Sequence[Row]) -> str:
    """Return the caption of table 3; rows come in the order of their params."""
    sentences = [
        f"Pruned networks among dense ones of other designs on {rows[0].like.dataset}, by params: "
        f"top-1 and top-5 test error of the last epoch in %{spread_words(rows)}.",
        "Variant: the method and the requested share.",
        _COUNTED,
        epochs_words(rows),
        *floor_words(rows),
        *_bold_by_size(rows),
        *gap_words(rows),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _models(rows: Sequence[Row]) -> str:
    return wording.listing(sorted({row.like.model for row in rows}))


def _each(number: int, words: str) -> str:
    return words if number == 1 else f"{words} Each error column has its own bold."


def _bold_by_size(rows: Sequence[Row]) -> list[str]:
    fields = [found for row in rows for key in _ERRORS if (found := smaller(row, rows, key))]
    counts = sorted({max(len(values) for values in found.values()) for found in fields})
    if not counts:
        return ["No bold: no two rows have a result."]
    against = f"among all rows with no more params (up to {100 * UNFAIR:g} % more are allowed)"
    alone = (
        "a row without such a rival, like the smallest network, is never bold. Each error "
        "column has its own bold."
    )
    if counts == [1]:
        return [f"Bold: the lowest error {against}; one seed separates nothing; {alone}"]
    return [
        f"Bold: the lowest mean error {against}, or not distinguishable from it "
        f"{rule_words(counts)}; {alone}"
    ]
