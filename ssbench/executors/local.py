"""Carry out runs one after the other; stages that are finished are taken from the store."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from ssbench.device import describe
from ssbench.errors import BadInputError, RunFailedError
from ssbench.pipeline import carry_out
from ssbench.plan import Run, Stage
from ssbench.record import Record, now, records
from ssbench.storage import Results, Store
from ssbench.training import Epoch
from ssbench.workbench import Bench


class Observer(Protocol):
    """Is told how far things are."""

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Note that a stage begins."""

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Note a finished epoch."""

    def stage_done(self, stage: Stage) -> None:
        """Note that a stage is finished, now or before."""

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Note that a run is finished (``before``: it already was), with its last record."""


@dataclass
class Outcome:
    """How the runs ended, by run id; ``failed`` with the reason."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class _FailedError(Exception):
    """A stage of a run failed; carries what was measured until then."""

    def __init__(self, measured: list[Record], reason: str) -> None:
        super().__init__(reason)
        self.measured, self.reason = measured, reason


class _Local:
    def __init__(self, bench: Bench, store: Store, observer: Observer) -> None:
        self.bench, self.store, self.observer = bench, store, observer
        self.failures: dict[str, str] = {}
        self.facts = describe(bench.device) | {
            "train_images": len(bench.train),
            "validation_images": len(bench.validation),
            "test_images": len(bench.test),
            "image_shape": list(bench.example.shape[1:]),
            "classes": bench.dataset.classes,
            "mean": bench.normalisation[0].flatten().tolist(),
            "sd": bench.normalisation[1].flatten().tolist(),
        }

    def run(self, run: Run) -> list[Record]:
        """Carry out what is missing of a run; return its records."""
        measured: list[Record] = []
        for stage in run.stages:
            if stage.id in self.failures:
                raise _FailedError(measured, self.failures[stage.id])
            if not self.store.has(stage.id):
                self.observer.stage_started(run, stage)
                try:
                    self._carry_out(stage)
                except _FailedError as failure:
                    self.failures[stage.id] = failure.reason
                    raise _FailedError(measured, failure.reason) from failure
            measured.append(self.store.record(stage.id))
            self.observer.stage_done(stage)
        return records(run, measured)

    def _carry_out(self, stage: Stage) -> None:
        before = self.store.tensors(stage.parent.id) if stage.parent else {}
        try:
            tensors, record = carry_out(
                stage, self.bench, before, lambda epoch: self.observer.epoch(stage, epoch)
            )
        except (KeyboardInterrupt, BadInputError):
            raise
        except Exception as error:  # a method may raise anything; the other runs must go on
            raise _FailedError([], _reason(stage, error)) from error
        self.store.save(stage.id, tensors, record | self.facts | {"time": now()})


def execute(
    runs: Sequence[Run], bench: Bench, store: Store, results: Results, observer: Observer
) -> Outcome:
    """Carry out the runs that have no record yet."""
    local, outcome = _Local(bench, store, observer), Outcome()
    for run in runs:
        before = results.last(run.id)
        if before is None:
            try:
                found = local.run(run)
            except _FailedError as failure:
                found = records(run, failure.measured, failure.reason)
            results.save(run.id, found)
        last = before or found[-1]
        if last["status"] == "failed":
            outcome.failed[run.id] = last["reason"]
        else:
            outcome.done.append(run.id)
        observer.run_done(run, last, before=before is not None)
    return outcome


def _reason(stage: Stage, error: Exception) -> str:
    """Say in one line what happened and where."""
    if isinstance(error, RunFailedError):
        return f"{stage.kind}: {error}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"{stage.kind}: out of memory ({error})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"{stage.kind}: {type(error).__name__}: {error} ({place})"
