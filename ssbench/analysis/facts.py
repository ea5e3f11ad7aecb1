"""Facts for the head of a report: protocol, shared stages, and how methods were tuned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssbench.analysis import wording
from ssbench.analysis.grouping import devices_of
from ssbench.analysis.rows import Row, by_budget
from ssbench.analysis.wording import written
from ssbench.storage.records import RunRecords
from ssbench.storage.schema import Tuning

SHOWN = 4
"""Number of different orders of stages to show."""


def protocol_facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the budgets and the stages of the finished runs."""
    budgets = [wording.asked(*budget) for budget in by_budget(rows) if budget[0] is not None]
    orders = list(dict.fromkeys(_stages(run) for row in rows for run in row.done))
    more = [f"{len(orders) - SHOWN} more"] if len(orders) > SHOWN else []
    return [
        ("Budgets", wording.listing(budgets)),
        ("Stages", " | ".join([*orders[:SHOWN], *more])),
        ("First weights", _first_weights(rows)),
        ("Measured", "test error after the last epoch; it chooses no epoch" if orders else ""),
    ]


def _first_weights(rows: Sequence[Row]) -> str:
    """Return what the networks start with, by network; empty if all weights are random."""
    found = {(row.like.model, row.like.start or "random") for row in rows}
    if {start for _, start in found} <= {"random"}:
        return ""
    return "; ".join(f"{model}: {start}" for model, start in sorted(found))


def _stages(run: RunRecords) -> str:
    """Return the stages in order: 'train (20 epochs), prune, finetune (10 epochs)'."""
    return ", ".join(
        f"{stage.stage} ({stage.epochs} epoch{'' if stage.epochs == 1 else 's'})"
        if stage.epochs
        else stage.stage
        for stage in run.stages
    )


@dataclass(frozen=True)
class Sharing:
    """Epochs and seconds of training, actual and without sharing."""

    epochs: int
    naive_epochs: int
    seconds: float
    naive_seconds: float


def sharing(runs: Iterable[RunRecords]) -> Sharing:
    """Add up the stages of runs; a stage without an id counts as unshared."""
    epochs = naive_epochs = 0
    seconds = naive_seconds = 0.0
    seen: set[str] = set()
    for run in runs:
        for stage in run.stages:
            if stage.status != "done":
                continue
            count, time = stage.epochs or 0, stage.seconds_train or 0.0
            naive_epochs, naive_seconds = naive_epochs + count, naive_seconds + time
            if stage.stage_id is None or stage.stage_id not in seen:
                epochs, seconds = epochs + count, seconds + time
            seen |= {stage.stage_id} if stage.stage_id else set()
    return Sharing(epochs, naive_epochs, seconds, naive_seconds)


def said(runs: Iterable[RunRecords]) -> str:
    """Return what sharing saved, in words; empty if nothing."""
    saved = sharing(runs)
    if saved.epochs >= saved.naive_epochs:
        return ""
    hours = (saved.naive_seconds - saved.seconds) / 3600
    return (
        f"{saved.epochs:,} epochs trained instead of {saved.naive_epochs:,}; "
        f"{hours:,.2f} hours of training saved"
    )


NOT_TUNED = "not tuned; the experiment sets them"
_WORDS = {"finetune_lr": "learning rate of the finetuning"}


def sentences(rows: Sequence[Row]) -> list[str]:
    """Return how hyper-parameters were chosen, in sentences; none if nothing was tuned.

    Names methods with the same tuning together.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.like.tuning and row.name not in alike[_how(row.like.tuning)]:
            alike[_how(row.like.tuning)].append(row.name)
    if not alike:
        return []
    lines = [f"{wording.listing(names)}: {how}." for how, names in alike.items()]
    untuned = list(dict.fromkeys(row.name for row in rows if row.like.tuning is None))
    if untuned:
        lines.append(f"Not tuned: {wording.listing(untuned)}.")
    return lines


def _how(tuning: Tuning) -> str:
    """Return one tuning in words, without the chosen values."""
    what = [f"{_WORDS.get(name, name)} ({values})" for name, values in sorted(tuning.space.items())]
    seeds = wording.listing([str(seed) for seed in tuning.seeds])
    details = [f"seed{'' if len(tuning.seeds) == 1 else 's'} {seeds}"]
    details += [f"mean over {len(tuning.kept)} budgets"] if len(tuning.kept) > 1 else []
    if tuning.distinct < tuning.trials:
        details.append(f"{tuning.distinct} of them different")
    details += [f"{tuning.failed} of them failed"] if tuning.failed else []
    trials = f"{tuning.trials} trial{'' if tuning.trials == 1 else 's'}"
    return f"{wording.listing(what)} chosen on validation error by {trials} ({', '.join(details)})"


def tuning_facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return how the hyper-parameters were chosen, and the values, for the head of a report."""
    lines = sentences(rows)
    if not lines:
        return [("Hyper-parameters", NOT_TUNED)]
    several = len({row.like.model for row in rows}) > 1
    values = [
        f"{row.name}{f' on {row.like.model}' if several else ''}: {written(row.like.tuning.chosen)}"
        for row in rows
        if row.like.tuning
    ]
    return [("Hyper-parameters", " ".join(lines)), ("Chosen", "; ".join(dict.fromkeys(values)))]


def split_words(rows: Sequence[Row]) -> list[str]:
    """Name rows trained on several devices at once, or in micro-batches."""
    several: dict[str, list[str]] = {}
    small: dict[str, list[str]] = {}
    for row in rows:
        for run in row.done[:1]:
            for place in devices_of(run):
                if place[0].isdecimal():
                    several.setdefault(place, []).append(row.name)
            for size in dict.fromkeys(str(s.micro_batch) for s in run.stages if s.micro_batch):
                small.setdefault(size, []).append(row.name)
    return [
        *(f"Trained on {place}: {_once(names)}." for place, names in several.items()),
        *(f"In micro-batches of {size}: {_once(names)}." for size, names in small.items()),
    ]


def untouched_words(rows: Sequence[Row]) -> list[str]:
    """Name the parts of the network that methods could not prune."""
    gaps: dict[str, list[str]] = {}
    for row in rows:
        for final in (run.final for run in row.done[:1]):
            count, params, macs = (
                final.layers_untouched, final.params_untouched, final.macs_untouched,
            )  # fmt: skip
            if count and params is not None and macs is not None:
                gap = (
                    f"{count} layer{'' if count == 1 else 's'} "
                    f"({params / (final.params_dense or 1):.1%} of params, "
                    f"{macs / (final.macs_dense or 1):.1%} of MACs)"
                    f"{_reasons(final.untouched)}"
                )
                gaps.setdefault(gap, []).append(row.name)
    return [f"Out of reach of {_once(names)}: {gap}." for gap, names in gaps.items()]


MOST_REASONS = 2


def _reasons(untouched: Mapping[str, str]) -> str:
    """Return the most frequent reasons, each with the layers that it holds for."""
    layers: dict[str, list[str]] = defaultdict(list)
    for name, why in untouched.items():
        layers[why].append(name)
    most = sorted(layers.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{why} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for why, names in most[:MOST_REASONS]
    ]
    more = "; …" if len(most) > MOST_REASONS else ""
    return f": {'; '.join(parts)}{more}" if parts else ""


def _once(names: Sequence[str]) -> str:
    return wording.listing(list(dict.fromkeys(names)))
