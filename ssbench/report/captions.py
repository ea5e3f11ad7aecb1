"""Captions of tables and figures: content, units, and the meaning of bold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ssbench.analysis import facts, gaps, stats, wording
from ssbench.analysis.facts import split_words
from ssbench.analysis.grouping import UNPROTECTED
from ssbench.analysis.rows import UNFAIR, Row, best, by_budget, differing, rivals, twins
from ssbench.storage.view import Caption


def table_caption(rows: Sequence[Row]) -> str:
    """Return the caption of a (data set, model)'s table."""
    like = rows[0].like
    sentences = [
        f"{like.model} on {like.dataset}: test error of the last epoch{spread_words(rows)}.",
        "Budget: the requested share.",
        "Params and MACs count nonzero weights; pruned: the share of the dense network that was "
        "removed. Connections: 2-D kernels kept.",
        "MACs: convolution and linear layers, one image, 1 per multiply-add.",
        epochs_words(rows),
        *split_words(rows),
        *facts.untouched_words(rows),
        *facts.sentences(rows),
        *floor_words(rows),
        *bold_words(list(by_budget(rows).values())),
        *gap_words(rows),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def short_caption(rows: Sequence[Row]) -> str:
    """Return the caption of a table for readers who know the terms."""
    like = rows[0].like
    groups = list(by_budget(rows).values())
    bold = any(best(group) for group in groups if rivals(group))
    rule = " Bold: best at its budget, or not distinguishable from it." if bold else ""
    return f"{like.model} on {like.dataset}: test error{spread_words(rows)}.{rule}"


SURGERY_CAPTION = (
    "After surgery: the network without its silent channels, counted again; means over seeds. "
    "MACs do not include operations of batch norms (2 per element) and pooling (1). Bytes: float32 "
    "parameters; in sparse format each tensor is stored as is, with a bitmask or with a list of "
    "positions, whichever is smallest. Change of outputs: the largest of all seeds on real images "
    "and noise, in double precision, relative to the largest output; over 1e-5 a run fails."
)


class Detail(NamedTuple):
    """A table after the main one of a network and data set.

    Attributes:
        part: the key of its columns and cells in `ssbench.report.tables.Table`.
        title: its title in a page.
        where: the end of a heading that begins with the network and data set.
        caption: its content and units.
    """

    part: str
    title: str
    where: str
    caption: str


DETAILS = (
    Detail("gaps", "Differences to the best row", "against the best row", gaps.CAPTION),
    Detail("surgery", "Sizes after surgery, and its certificate", "after surgery", SURGERY_CAPTION),
)


def details(caption: Caption) -> list[Detail]:
    """Return the tables after the main one: with a short caption their first sentence alone."""
    if caption == "full":
        return list(DETAILS)
    first = {detail.part: f"{detail.caption.partition('. ')[0].rstrip('.')}." for detail in DETAILS}
    return [
        detail._replace(caption=first[detail.part] if caption == "short" else "")
        for detail in DETAILS
    ]


def figure_caption(rows: Sequence[Row]) -> str:
    """Return the caption of a (data set, model)'s figure."""
    like = rows[0].like
    several = any(len(row.done) > 1 for row in rows)
    points = (
        "mean over seeds, bands or bars ± 1 sample standard deviation" if several else "one seed"
    )
    dense = " Dashed: the dense network." if any(row.is_dense and row.done for row in rows) else ""
    return (
        f"{like.model} on {like.dataset}: test error of the last epoch against the kept share of "
        f"params, connections and MACs (of nonzero weights); {points}.{dense}"
        f"{DOTTED if twins(differing(rows)) else ''}"
    )


DOTTED = " Dotted lines and bars as marks: the same method without a floor in its layers."


def seed_count(rows: Sequence[Row]) -> int:
    """Return the largest number of finished seeds of a row."""
    return max((len(row.done) for row in rows), default=0)


def spread_words(rows: Sequence[Row]) -> str:
    """Say how many seeds the means cover."""
    count = seed_count(rows)
    if count < 2:
        return ", one seed"
    fewer = any(len(row.done) < count for row in rows)
    seeds = f"n seeds ({count} where none is missing)" if fewer else f"{count} seeds"
    return f", mean ± sample standard deviation over {seeds}"


def epochs_words(rows: Sequence[Row]) -> str:
    """Say how many epochs the rows were trained in total."""
    totals = sorted({run.final.epochs_total or 0 for row in rows for run in row.done})
    if not totals:
        return "No run has a result."
    if len(totals) == 1:
        return f"All rows: {totals[0]} epochs in total."
    return f"Total epochs differ between rows: {wording.listing([str(t) for t in totals])}."


def bold_words(budgets: Sequence[Sequence[Row]]) -> list[str]:
    """Say what bold means in a table, given its rows budget by budget."""
    groups = [group for group in budgets if rivals(group)]
    if not any(best(group) for group in groups):
        return ["No bold: no two rows have the same budget."]
    # A group's rule follows from its largest number of seeds; single seeds separate nothing.
    counts = sorted({max(len(values) for values in rivals(group).values()) for group in groups})
    if counts == [1]:
        return ["Bold: the lowest error at its budget; one seed separates nothing."]
    rule = rule_words(counts)
    sentences = [
        f"Bold: the lowest mean error at its budget, or not distinguishable from it {rule}."
    ]
    if counts[0] == 1:
        sentences.append("At a budget with one seed, only the lowest is bold.")
    if any(row.off_budget for group in budgets for row in group):
        sentences.append(
            f"Rows that kept over {100 * UNFAIR:g} % more or less than asked do not compete."
        )
    if any(row.broken for group in budgets for row in group):
        sentences.append(
            "Rows that lost a whole layer, or are no better than guessing, in some seed do not "
            "compete."
        )
    return sentences


def floor_words(rows: Sequence[Row]) -> list[str]:
    """Describe the floor that keeps layers alive, and the rows without it."""
    floors = sorted({twin.like.protection or 0.0 for twin in twins(rows).values()})
    if not floors:
        return []
    shares = wording.listing([f"{100 * floor:.3g} %" for floor in floors])
    return [
        f"If one threshold prunes the whole network, every layer keeps at least {shares} of its "
        f"units, the same for all methods; {UNPROTECTED}: the same row without this floor, shown "
        "if it differs; it does not compete."
    ]


def rule_words(counts: Sequence[int]) -> str:
    """Describe the rule that compares errors, given the numbers of compared seeds."""
    rules = wording.listing(list(dict.fromkeys(stats.rule(count) for count in counts if count > 1)))
    return (
        f"({rules} of the difference by seed includes 0, with a spread of at least that of "
        "rounding to whole test images; not corrected for the number of comparisons), and not "
        "worse at every seed by more than the sampling error of the test images"
    )


def gap_words(rows: Sequence[Row]) -> list[str]:
    """Say which differences are too small for the seeds."""
    count = seed_count(rows)
    if count < stats.FEW:
        return [f"No intervals: they need {stats.FEW} seeds."] if count else []
    full = [row.spread("test_top1_error") for row in rows if len(row.done) == count]
    sds = [spread.sd for spread in full if spread and spread.sd is not None]
    gap = stats.smallest_gap(sds, count, max(row.resolution for row in rows))
    if gap is None:
        return []
    return [
        f"Between two rows with the median standard deviation, {count} seeds separate no gap "
        f"under {gap:.2f} points."
    ]
