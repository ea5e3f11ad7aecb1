"""The limits of a report: open questions, gaps, and what all rows have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ssbench.analysis import images, stats, wording
from ssbench.analysis.coverage import Coverage
from ssbench.analysis.facts import split_words
from ssbench.analysis.findings import Findings, Overall
from ssbench.analysis.rows import Row
from ssbench.analysis.stats.intervals import _wilson

Part = tuple[str, Sequence[Row], Findings]
"""A (data set, model): its title, its rows and its findings."""


NOTHING_OPEN = (
    "Nothing in these records is in doubt because of their number or kind; questions that they "
    "were not made for remain open."
)


def limits(parts: Sequence[Part], overall: Overall) -> tuple[str, ...]:
    """Return what does not follow from the records, each in one or two sentences.

    Args:
        parts: of the report, in the order of its tables.
        overall: the conclusions from all of them.
    """
    rows = [row for _, part, _ in parts for row in part]
    sentences = [
        *_claims(overall),
        *(line for name, _, found in parts for line in _order(name, found)),
        *_missing([found.coverage for _, _, found in parts], rows),
        *_seeds(rows),
        *_sampling(rows),
        *_epochs(rows),
        *_split(rows),
        *_tuning(rows),
        *_sizes(rows),
        *_scope(rows),
    ]
    return tuple(sentences)


def _claims(overall: Overall) -> list[str]:
    return [
        f"Undecided: {settled.claim.says.rstrip('.')} ({settled.why})."
        for settled in overall.claims
        if settled.ending == "undecided"
    ]


def _order(name: str, found: Findings) -> list[str]:
    """Return how many neighbours of a table have no certain order."""
    kinds = Counter(pair.verdict.kind for pair in found.verdicts)
    total, judged = len(found.verdicts), kinds["better"]
    if judged == total:
        return []
    words = [
        (kinds["lower at every seed"], "lower at every seed, but not separable"),
        (kinds["more seeds"], "would take more seeds"),
        (kinds["not separable"], f"would not be separated by {stats.AT_MOST} seeds"),
        (kinds["too few seeds"], f"share fewer than {stats.FEW} seeds"),
    ]
    why = wording.listing([f"{count} {what}" for count, what in words if count])
    return [
        f"{name}: which of two neighbours has the lower error is open for {total - judged} of "
        f"{total} pairs: {why}. The order of a table alone is no evidence."
    ]


def _missing(covered: Sequence[Coverage], rows: Sequence[Row]) -> list[str]:
    failed = sum(len(row.failed) for row in rows)
    gaps = [gap for coverage in covered for gap in coverage.gaps]
    missing = sum(len(gap.missing) for gap in gaps)
    if not gaps:
        return []
    runs = f"{missing} run{'' if missing == 1 else 's'}"
    return [
        f"{runs} of {wording.listing(list(dict.fromkeys(gap.name for gap in gaps)))} "
        f"{'has' if missing == 1 else 'have'} no result ({failed} failed). Means over the other "
        "seeds may be too good: the failed ones may have been different."
    ]


def _seeds(rows: Sequence[Row]) -> list[str]:
    few = [row for row in rows if 0 < len(row.done) < stats.FEW]
    if not few:
        return []
    return [
        f"{len(few)} of {len(rows)} rows have fewer than {stats.FEW} seeds: their differences have "
        "no interval and may be luck."
    ]


def _sampling(rows: Sequence[Row]) -> list[str]:
    """Return the uncertainty from drawing the test images, which more seeds do not reduce."""
    tested = [row for row in rows if row.values("test_images") and row.values("test_top1_error")]
    datasets = list(dict.fromkeys(row.like.dataset for row in tested))
    return [
        f"{f'{name}: ' if len(datasets) > 1 else ''}"
        f"{_sampled([row for row in tested if row.like.dataset == name])}"
        for name in datasets
    ]


def _sampled(rows: Sequence[Row]) -> str:
    """Return the same for the rows of one data set, all with a result."""
    finals = [run.final for row in rows for run in row.done]
    sizes = sorted({n for record in finals if (n := record.test_images)})
    least = min(stats.mean(row.values("test_top1_error").values()) for row in rows)
    low, high = _wilson(least / 100, sizes[0])
    if len(sizes) > 1:
        begin = f"The rows were tested on different numbers of images, {sizes[0]:,} or more."
    elif images.same(finals):
        begin = f"All seeds were tested on the same {sizes[0]:,} images."
    else:
        begin = f"Every seed was tested on {sizes[0]:,} images; not all records say which ones."
    shares = {record.data.get("test") for record in finals if record.data}
    for share in sorted(share for share in shares if isinstance(share, float)):
        begin += f" ssbench chose them at random, {100 * share:g} % of each class."
    return (
        f"{begin} An error of {least:.2f} % on that many images means an error between "
        f"{100 * low:.2f} and {100 * high:.2f} % on all such images (95 % Wilson interval); more "
        "seeds do not narrow this."
    )


def _epochs(rows: Sequence[Row]) -> list[str]:
    totals = sorted({total for row in rows for total in row.values("epochs_total").values()})
    if len(totals) < 2:
        return []
    return [
        f"Rows were trained for different numbers of epochs ({totals[0]:.0f} to {totals[-1]:.0f}): "
        "a lower error may come from longer training."
    ]


def _split(rows: Sequence[Row]) -> list[str]:
    """Name trainings with divided batches, among devices or one after the other."""
    parted = [row for row in rows if split_words([row])]
    if not parted:
        return []
    names = wording.listing(list(dict.fromkeys(row.name for row in parted)))
    return [
        f"The batches of {names} were divided, among devices or because memory was short: "
        "gradients and batch norms equal those of whole batches except for rounding, which can "
        "lead to other weights in the course of a training, as another seed does."
    ]


def _tuning(rows: Sequence[Row]) -> list[str]:
    untuned = list(dict.fromkeys(row.name for row in rows if row.like.tuning is None))
    if not untuned:
        return []
    whose = "No method's" if len(untuned) == len({row.name for row in rows}) else "Not all methods'"
    return [
        f"{whose} hyper-parameters were tuned on the validation split: a method may lose here "
        "because of its settings, not its idea."
    ]


def _sizes(rows: Sequence[Row]) -> list[str]:
    """Say that rows with their own threshold differ in size."""
    if not any(row.budget[0] == "own" for row in rows):
        return []
    return ["Rows with their own threshold keep different shares: their errors are not compared."]


def _scope(rows: Sequence[Row]) -> list[str]:
    datasets = list(dict.fromkeys(row.like.dataset for row in rows))
    models = list(dict.fromkeys(row.like.model for row in rows))
    named = []
    if len(models) == 1:
        named.append(f"one network ({models[0]})")
    if len(datasets) == 1:
        named.append(f"one data set ({datasets[0]}) in one split")
    if not named:
        return []
    return [f"All rows use {wording.listing(named)}: nothing follows for others."]
