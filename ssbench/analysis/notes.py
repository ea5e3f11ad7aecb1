"""Footnotes and warnings of a table: what a reader should know before comparing its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ssbench.analysis import wording
from ssbench.analysis.leaks import leaks
from ssbench.analysis.rows import CLOSE, Row, by_budget, printed
from ssbench.storage.records import RunRecords
from ssbench.storage.schema import Record


@dataclass(frozen=True)
class Note:
    """A footnote: its mark, its text, and the rows with the mark."""

    mark: str
    text: str
    rows: tuple[Row, ...]


def notes(rows: Sequence[Row], call: Callable[[Row], str] = lambda row: row.name) -> list[Note]:
    """Return the footnotes that the rows of a table need.

    Args:
        rows: in printing order.
        call: returns a row's name for footnotes.
    """
    kinds: tuple[tuple[str, str, Callable[[Row], str | None]], ...] = (
        ("†", "collapsed and does not compete", _collapse),
        ("‡", "failed", _failure),
        (
            "§",
            f"missed the budget by over {100 * CLOSE:g} % of it (furthest seed)",
            _miss,
        ),
        ("¶", "the protection of layers acted", _protection),
    )
    found = []
    for mark, what, say in kinds:
        marked = [(row, words) for row in rows if (words := say(row)) is not None]
        if marked:
            found.append(
                Note(mark, f"{what}: {_by_name(marked, call)}.", tuple(row for row, _ in marked))
            )
    return found


def _collapse(row: Row) -> str | None:
    counts = (
        (row.collapsed(), "a whole layer lost all its weights"),
        (row.at_chance(), "no better than guessing"),
    )
    phrases = [f"{what} in {seeds} of {len(row.done)} seeds" for seeds, what in counts if seeds]
    return ", ".join(phrases) or None


def _failure(row: Row) -> str | None:
    if not row.failed:
        return None
    reasons = listed(reason(run.final) for run in row.failed)
    return f"{len(row.failed)} of {len(row.done) + len(row.failed)} seeds: {reasons}"


def reason(record: Record) -> str:
    """Return why a run failed, and in which epoch if it diverged."""
    text = record.reason or "no reason given"
    epoch = record.diverged_epoch
    has_epoch = epoch is None or f"in epoch {epoch}" in text
    return text if has_epoch else f"diverged in epoch {epoch}: {text}"


def _miss(row: Row) -> str | None:
    miss, asked = row.miss(), row.like.budget_asked
    if miss is None or not isinstance(asked, float | int) or abs(miss) <= CLOSE:
        return None
    left_out = f", too {'much' if miss > 0 else 'little'} to compete" if row.off_budget else ""
    free = row.off_budget and not row.like.protection and row.like.scope != "layerwise"
    remedy = "; protection or scope = 'layerwise' may come closer" if free else ""
    return f"{100 * asked * (1 + miss):.4g} %{left_out}{remedy}"


def _protection(row: Row) -> str | None:
    layers = row.spread("protected")
    if not layers or not layers.mean:
        return None
    return f"in {layers.mean:.3g} layer{'' if layers.mean == 1 else 's'}"


def _by_name(marked: Iterable[tuple[Row, str]], call: Callable[[Row], str]) -> str:
    """Write 'name at 5 % (words), 2 % (words); other at …', with each name once."""
    places: dict[str, list[str]] = {}
    for row, words in marked:
        place = "" if row.is_dense else f"at {wording.asked(*row.budget)} "
        places.setdefault(call(row), []).append(f"{place}({words})")
    return "; ".join(f"{name} {', '.join(items)}" for name, items in places.items())


def warnings(rows: Sequence[Row]) -> list[str]:
    """Return differences of a table's rows besides the method."""
    finals = [run.final for row in rows for run in row.done]
    found = []
    for what, values in (("devices", devices(finals)), ("library versions", versions(finals))):
        if len(values) > 1:
            found.append(f"These records come from different {what}: {' | '.join(values)}.")
    for what, key in (
        ("total epochs", "epochs_total"),
        ("numbers of training images", "train_images"),
        ("numbers of test images", "test_images"),
        ("versions of the protocol", "protocol"),
    ):
        distinct = sorted({getattr(record, key) for record in finals} - {None})
        if len(distinct) > 1:
            numbers = wording.listing([str(value) for value in distinct])
            found.append(f"The rows differ in their {what}: {numbers}.")
    unknown = [row for row in rows if any(not run.final.data_fingerprint for run in row.done)]
    if unknown and any(record.data_fingerprint for record in finals):
        names = listed(row.name for row in unknown)
        found.append(
            f"The records of these rows do not name their images: {names}. They may differ from "
            "those of the other rows."
        )
    return [*found, *_no_effect(rows), *leaks(rows)]


def _no_effect(rows: Sequence[Row]) -> list[str]:
    """Name rows of a budget with identical results: one of their settings has no effect."""
    found = []
    for group in by_budget(printed(rows)).values():
        equal: dict[tuple[object, ...], list[Row]] = {}
        for row in group:
            if row.done and not row.collapsed() and all(run.final.curve_loss for run in row.done):
                equal.setdefault(tuple(_outcome(run) for run in row.done), []).append(row)
        found += [
            f"{listed(row.name for row in same)} ({wording.asked(*same[0].budget)}): the same "
            "results to the last digit at every seed. The settings in which these rows "
            "differ have no effect."
            for same in equal.values()
            if len(same) > 1
        ]
    return found


def _outcome(run: RunRecords) -> tuple[object, ...]:
    """Return values that two different trainings hardly share."""
    final = run.final
    curve = tuple(final.curve_loss or ())
    return final.seed, curve, final.test_loss, final.params_nonzero, final.threshold


def superseded(older: Sequence[RunRecords]) -> list[str]:
    """Return a warning about runs that newer ones of the same row and seed replace."""
    if not older:
        return []
    names = listed(run.final.run for run in older)
    return [f"The newest run of each row and seed counts; older ones do not count: {names}."]


def devices(records: Iterable[Record]) -> list[str]:
    """Return the distinct devices, each as one text."""
    return sorted({_device(record) for record in records if record.device})


def _device(record: Record) -> str:
    count = record.threads
    threads = f", {count} thread{'' if count == 1 else 's'}" if count else ""
    jointly = f", {record.devices} processes jointly" if (record.devices or 1) > 1 else ""
    return f"{record.device_name or record.device}{threads}{jointly}"


def versions(records: Iterable[Record]) -> list[str]:
    """Return the distinct sets of library versions, each as one text."""
    found = {tuple(sorted(record.versions.items())) for record in records if record.versions}
    return [", ".join(f"{name} {version}" for name, version in items) for items in sorted(found)]


def listed(items: Iterable[str]) -> str:
    """Join distinct texts in order of first appearance."""
    return ", ".join(dict.fromkeys(items))
