"""Give the missing stages of runs to an executor, and save the records of finished runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.protocol import (
    Began,
    Busy,
    Done,
    Executor,
    Failed,
    Halted,
    Job,
    Message,
    Orphaned,
    Refused,
    Warned,
)
from ssbench.executors.registry import choose
from ssbench.executors.schedule import Schedule
from ssbench.executors.stage_runner import Observer, Outcome, failed_elsewhere
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record, records
from ssbench.pipeline.resume import ResumePoints
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.storage.results import Results
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch

PATIENCE = 0.5
"""Seconds between two attempts at a stage that another process holds."""


def execute(runs: Sequence[Run], job: Job, results: Results, observer: Observer) -> Outcome:
    """Execute the runs that have no record yet.

    Puts off a stage that another process holds. A failed stage fails its runs; the others go on.

    Args:
        runs: all runs.
        job: their data, the store of finished stages, and the executor.
        results: of finished runs.
        observer: receives the progress.

    Raises:
        BadInputError: the executor cannot start, or the input is at fault.
        Stopped: this process must end; what could be saved of current stages is saved.
    """
    partial, device = job.store.part("partial"), job.workbench.device.type
    ResumePoints(partial, device, STOP, job.where.save_every, observer.warn).tidy(job.store)
    coordinator = Coordinator(runs, job.store, results, observer)
    if coordinator.goes_on():
        executor = choose(job, coordinator.left)(job, coordinator.left, coordinator.take)
        try:
            with STOP.deferred():
                coordinator.drive(executor)
        finally:
            with STOP.unheard():
                executor.close()
    return coordinator.outcome


class Coordinator:
    """Submits the missing stages, and saves the records of the runs that they complete.

    Attributes:
        schedule: the stages that can be submitted, and the runs that each completes.
        left: the runs that had no record.
        running: the ids of the submitted stages.
        outcome: how the runs ended so far.
        saved: what was saved of interrupted stages, each in a few words.
        refused: why no further stage is submitted; empty: stages are.
    """

    def __init__(
        self, runs: Sequence[Run], store: CheckpointStore, results: Results, observer: Observer
    ) -> None:
        self.store, self.results, self.observer = store, results, observer
        results.tell = observer.warn
        results.watch()
        self.outcome = Outcome()
        self.running: set[str] = set()
        self.saved: list[str] = []
        self.refused = ""
        self._put_off: deque[tuple[float, Stage]] = deque()
        self._awaited = ""
        self._again: list[Run] = []
        self._plan(runs)

    def _plan(self, runs: Sequence[Run]) -> None:
        last_records = {run.id: self.results.last(run.id) for run in runs}
        self.left = [run for run in runs if last_records[run.id] is None]
        self.schedule = Schedule(self.left, self.store)
        for run in runs:
            last = last_records[run.id]
            if last is not None:
                self._note(run, last, before=True)
        for stage in self.schedule.finished:
            self.observer.stage_done(stage)
        complete = set(self.schedule.complete())
        for run in self.left:
            if run.id in complete:
                self._save(run, run.stages)

    def drive(self, executor: Executor) -> None:
        """Submit stages and collect their results until nothing is left.

        Raises:
            BadInputError: the input is at fault; the stages that were under way have ended.
            Stopped: this process must end, and the executor's stages have.
        """
        while self.goes_on():
            while self.schedule.ready and not self.refused and executor.room():
                self._submit(executor, self.schedule.ready.popleft())
            if self.running:
                executor.collect(PATIENCE if self._waits else None)
            elif self._put_off and not self.schedule.ready:
                self.observer.waiting(self._awaited)
                wait(STOP.waits, PATIENCE)
            if STOP.asked is not None:
                executor.halt()
                while self.running:
                    executor.collect(None)
                STOP.check(self.saved)
        if self.refused:
            raise BadInputError(self.refused)

    def goes_on(self) -> bool:
        """Whether stages are under way or left, to submit now or later.

        Plans runs with damaged stages again once everything else is done.
        """
        if self.refused:
            return bool(self.running)
        while self._put_off and self._put_off[0][0] <= time.monotonic():
            self.schedule.ready.append(self._put_off.popleft()[1])
        if self._again and not self.running and not self.schedule.ready and not self._put_off:
            again, self._again = self._again, []
            self._plan(again)
        return bool(self.schedule.ready or self.running or self._waits)

    @property
    def _waits(self) -> bool:
        """Whether postponed stages or runs will come up again without a message."""
        return bool(self._put_off or self._again)

    def _submit(self, executor: Executor, stage: Stage) -> None:
        """Submit a stage, unless another process on these records saw it fail."""
        failure = failed_elsewhere(self.results, stage)
        if failure is not None:
            self._failed(stage, str(failure), failure.facts)
            return
        self.running.add(stage.id)
        executor.submit(stage)

    def take(self, stage: Stage, message: Message) -> None:
        """Handle an executor's message about a submitted stage."""
        if isinstance(message, Began):
            if message.stage.id == stage.id:  # else it computes the parent again
                self.observer.stage_started(self.schedule.first_run(stage), stage)
        elif isinstance(message, Epoch):
            self.observer.epoch(stage, message)
        elif isinstance(message, Warned):
            self.observer.warn(message.text)
        else:
            self.running.discard(stage.id)
            self._ended(stage, message)

    def _ended(
        self, stage: Stage, message: Done | Failed | Busy | Halted | Orphaned | Refused
    ) -> None:
        match message:
            case Done():
                self._done(stage)
            case Failed():
                self._failed(stage, message.reason, message.facts)
            case Busy():
                self._put_off.append((time.monotonic() + PATIENCE, stage))
                self._awaited = f"waiting for {stage.kind} {stage.id[:8]}, held by {message.holder}"
                self.observer.stage_put_off(stage)
            case Halted():
                self.saved += message.saved
                self.observer.stage_put_off(stage)
                self.schedule.ready.appendleft(stage)
            case Orphaned():
                assert stage.parent is not None
                self.observer.warn(f"{message.reason}; computed again")
                self.store.remove(stage.parent.id)
                self.schedule.again(stage.parent, stage)
            case Refused():
                self._refuse(message.message)

    def _refuse(self, reason: str) -> None:
        """Submit no more stages; what is under way may have taken hours, so wait for it."""
        if not self.refused and self.running:
            self.observer.warn(
                f"{reason}. No more stages are started; running stages will finish and be kept "
                "(Ctrl-C stops them too)"
            )
        self.refused = self.refused or reason

    def _done(self, stage: Stage) -> None:
        self.observer.stage_done(stage)
        for run in self.schedule.done(stage):
            self._save(run, run.stages)

    def _failed(self, stage: Stage, reason: str, facts: Mapping[str, Any]) -> None:
        """Fail a stage, and with it every run that it belongs to; ``facts`` go to the records."""
        self.observer.stage_done(stage)
        for run in self.schedule.failed(stage):
            before = run.stages[: [s.id for s in run.stages].index(stage.id)]
            self._save(run, before, reason, facts)

    def _save(
        self,
        run: Run,
        stages: Sequence[Stage],
        reason: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a run's records; queue the run again if stages are damaged or missing."""
        try:
            measured = [self.store.record(stage.id) for stage in stages]
        except DamagedError as error:
            self.observer.warn(f"{error.told}; computed again")
            self._clear(run)
            self._again.append(run)
            return
        lines = records(run, measured, reason, facts or {})
        self.results.save(run.id, lines)
        self._note(run, lines[-1], before=False)

    def _clear(self, run: Run) -> None:
        """Remove a run's damaged stages from the store."""
        for stage in run.stages:
            try:
                with self.store.lock(stage.id):
                    self.store.record(stage.id)
            except DamagedError:
                self.store.remove(stage.id)
            except BusyError:
                continue

    def _note(self, run: Run, last: Record, *, before: bool) -> None:
        self.outcome.note(last)
        self.observer.run_done(run, last, before=before)
