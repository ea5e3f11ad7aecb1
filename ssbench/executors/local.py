"""Carry out runs one after the other; stages that are finished are taken from the store."""

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
"""Seconds until a stage that another process is at is looked at again."""


class _FailedError(Exception):
    """A stage of a run failed."""

    def __init__(self, parent: Stage | None, failure: StageFailedError) -> None:
        super().__init__(str(failure))
        self.before, self.failure = parent.chain() if parent else [], failure


class _Local:
    def __init__(
        self, hand: StageRunner, store: CheckpointStore, results: Results, observer: Observer
    ) -> None:
        self.hand, self.store, self.results, self.observer = hand, store, results, observer
        results.tell = observer.warn
        results.watch()
        self.failures: dict[str, StageFailedError] = {}
        self.outcome = Outcome()

    def finish(self, run: Run) -> None:
        """Carry out what is missing of a run, and write down its records.

        Raises:
            BusyError: another process is at one of its stages.
        """
        before = last = self.results.last(run.id)
        if last is None:
            try:
                found = records(run, [self._measured(run, stage) for stage in run.stages])
            except _FailedError as failed:
                measured = [self.store.record(stage.id) for stage in failed.before]
                found = records(run, measured, str(failed), failed.failure.facts)
            self.results.save(run.id, found)
            last = found[-1]
        self.outcome.note(last)
        self.observer.run_done(run, last, before=before is not None)

    def _measured(self, run: Run, stage: Stage) -> Record:
        """What a stage measured; it is carried out if it is missing or damaged."""
        if stage.id not in self.failures:
            with suppress(DamagedError):
                found = self.store.record(stage.id)
                self.observer.stage_done(stage)
                return found
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
                "the GPU answers this process no more, or its images were changed, since a stage "
                "failed; start the same command again: it goes on with the other runs"
            )
        self.observer.stage_started(run, stage)
        try:
            self.hand.carry_out(stage, lambda epoch: self.observer.epoch(stage, epoch))
        except StageFailedError as failure:
            self.failures[stage.id] = failure.alone()
        except BusyError as busy:
            self.observer.stage_put_off(stage)
            raise BusyError(f"{stage.kind} {stage.id[:8]}, which {busy.holder} is at") from busy
        self.observer.stage_done(stage)


def execute(
    runs: Sequence[Run],
    workbench: Workbench,
    store: CheckpointStore,
    results: Results,
    observer: Observer,
    save_every: float = SAVE_EVERY,
) -> Outcome:
    """Carry out the runs that have no record yet.

    A run that needs a stage which another process is at comes after the others. Trainings are saved
    between two epochs, at most every ``save_every`` seconds.

    Raises:
        Stopped: the process is to end.
        BadInputError: it cannot use its GPU any more.
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
