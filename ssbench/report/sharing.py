"""What sharing saved: stages that several runs have in common are carried out once.

The naive plan carries out every stage of every run. No plan can do with less than each different
stage once, which is what was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssbench.report.records import Run


@dataclass(frozen=True)
class Sharing:
    """Epochs and seconds of training, as they were and as they would have been without sharing."""

    epochs: int
    naive_epochs: int
    seconds: float
    naive_seconds: float


def sharing(runs: Iterable[Run]) -> Sharing:
    """Add up the stages of runs; one without an id counts as a stage of its own."""
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


def said(runs: Iterable[Run]) -> str:
    """Say what sharing saved; nothing where it saved nothing."""
    found = sharing(runs)
    if found.epochs >= found.naive_epochs:
        return ""
    hours = (found.naive_seconds - found.seconds) / 3600
    return (
        f"{found.epochs:,} epochs trained instead of {found.naive_epochs:,}; "
        f"{hours:,.2f} hours of training saved"
    )
