"""Execute runs one after the other; finished stages come from the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.stage_runner import (
    Observer,
    Outcome,
    StageFailedError,
    StageRunner,
    failed_elsewhere,
)
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record, records
from ssbench.pipeline.resume import ResumePoints
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.storage.results import Results
from ssbench.training.interrupt import SAVE_EVERY, STOP

PATIENCE = 0.5
"""Seconds between two looks at a stage that another process holds."""


class _FailedError(Exception):
    """A stage of a run failed."""

    def __init__(self, parent: Stage | None, failure: StageFailedError) -> None:
        super().__init__(str(failure))
        self.before, self.failure = parent.chain() if parent else [], failure


class _Local:
    def __init__(
        self, runner: StageRunner, store: CheckpointStore, results: Results, observer: Observer
    ) -> None:
        self.runner, self.store, self.results, self.observer = runner, store, results, observer
        results.tell = observer.warn
        results.watch()
        self.failures: dict[str, StageFailedError] = {}
        self.outcome = Outcome()

    def finish(self, run: Run) -> None:
        """Execute what is missing of a run, and save its records.

        Raises:
            BusyError: another process holds one of its stages.
        """
        before = last = self.results.last(run.id)
        if last is None:
            try:
                rows = records(run, [self._measured(run, stage) for stage in run.stages])
            except _FailedError as failed:
                measured = [self.store.record(stage.id) for stage in failed.before]
                rows = records(run, measured, str(failed), failed.failure.facts)
            self.results.save(run.id, rows)
            last = rows[-1]
        self.outcome.note(last)
        self.observer.run_done(run, last, before=before is not None)

    def _measured(self, run: Run, stage: Stage) -> Record:
        """Return a stage's record; run the stage if it is missing or damaged."""
        if stage.id not in self.failures:
            with suppress(DamagedError):
                record = self.store.record(stage.id)
                self.observer.stage_done(stage)
                return record
            self._carry_out(run, stage)
        if stage.id in self.failures:
            raise _FailedError(stage.parent, self.failures[stage.id])
        return self.store.record(stage.id)

    def _carry_out(self, run: Run, stage: Stage) -> None:
        STOP.check()
        if elsewhere := failed_elsewhere(self.results, stage):
            self.failures[stage.id] = elsewhere
            return
        if any(failure.lost for failure in self.failures.values()):
            raise BadInputError(
                "the GPU no longer answers this process, or its images were changed, since a stage "
                "failed; start the same command again: it continues with the other runs"
            )
        self.observer.stage_started(run, stage)
        try:
            self.runner.carry_out(stage, lambda epoch: self.observer.epoch(stage, epoch))
        except StageFailedError as failure:
            self.failures[stage.id] = failure.alone()
        except BusyError as busy:
            self.observer.stage_put_off(stage)
            raise BusyError(f"{stage.kind} {stage.id[:8]}, held by {busy.holder}") from busy
        self.observer.stage_done(stage)


def execute(
    runs: Sequence[Run],
    workbench: Workbench,
    store: CheckpointStore,
    results: Results,
    observer: Observer,
    save_every: float = SAVE_EVERY,
) -> Outcome:
    """Execute the runs that have no record yet.

    Puts off a run that needs a stage held by another process. Saves trainings between two epochs,
    at most every ``save_every`` seconds.

    Raises:
        Stopped: this process must end.
        BadInputError: this process can no longer use its GPU.
    """
    partials = ResumePoints(
        store.part("partial"), workbench.device.type, STOP, save_every, observer.warn
    )
    partials.tidy(store)
    local = _Local(StageRunner(workbench, store, partials, observer.warn), store, results, observer)
    left = list(runs)
    while left:
        put_off: list[Run] = []
        for run in left:
            try:
                local.finish(run)
            except BusyError as busy:
                put_off.append(run)
                reason = busy.holder
        if len(put_off) == len(left):
            observer.waiting(f"waiting for {reason}")
            time.sleep(PATIENCE)
        left = put_off
    return local.outcome
