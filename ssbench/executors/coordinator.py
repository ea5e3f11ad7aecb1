"""Hand out stages to any executor, and save the records of finished runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ssbench.errors import DamagedError
from ssbench.executors.local import PATIENCE
from ssbench.executors.schedule import Schedule
from ssbench.executors.stage_runner import Observer, Outcome, failed_elsewhere
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record, records
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.storage.results import Results
from ssbench.training.loop import Epoch


class Coordinator:
    """Hands out the missing stages, and saves the records of the runs that they complete.

    Attributes:
        schedule: the stages that can be handed out, and the runs that each completes.
        left: the runs that had no record.
        outcome: how the runs ended so far.
        saved: what was saved of interrupted stages, each in a few words.
    """

    def __init__(
        self, runs: Sequence[Run], store: CheckpointStore, results: Results, observer: Observer
    ) -> None:
        self.store, self.results, self.observer = store, results, observer
        results.tell = observer.warn
        results.watch()
        self.outcome = Outcome()
        self.saved: list[str] = []
        self._put_off: deque[tuple[float, Stage]] = deque()
        self._again: list[Run] = []
        self._plan(runs)

    def _plan(self, runs: Sequence[Run]) -> None:
        found = {run.id: self.results.last(run.id) for run in runs}
        self.left = [run for run in runs if found[run.id] is None]
        self.schedule = Schedule(self.left, self.store)
        for run in runs:
            last = found[run.id]
            if last is not None:
                self._note(run, last, before=True)
        complete = set(self.schedule.complete())
        for run in self.left:
            if run.id in complete:
                self._save(run, run.stages)

    def goes_on(self, *, busy: bool) -> bool:
        """Whether there are stages to hand out, now or later.

        Replans runs with damaged stages once everything else is done and no worker is ``busy``.
        """
        while self._put_off and self._put_off[0][0] <= time.monotonic():
            self.schedule.ready.append(self._put_off.popleft()[1])
        if self._again and not busy and not self.schedule.ready and not self._put_off:
            again, self._again = self._again, []
            self._plan(again)
        return bool(self.schedule.ready) or self.waits

    def passes_over(self, stage: Stage) -> bool:
        """Whether another process on these records saw a stage fail; its runs fail here too."""
        failure = failed_elsewhere(self.results, stage)
        if failure is None:
            return False
        self.failed(stage, str(failure), failure.facts)
        return True

    @property
    def waits(self) -> bool:
        """Whether postponed stages or runs will come up again without a result from a worker."""
        return bool(self._put_off or self._again)

    def began(self, stage: Stage) -> None:
        """Note that a stage has begun."""
        self.observer.stage_started(self.schedule.first_run(stage), stage)

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Note a finished epoch."""
        self.observer.epoch(stage, epoch)

    def busy(self, stage: Stage, holder: str) -> None:
        """Note that another process works at a stage; it is tried again later."""
        self._put_off.append((time.monotonic() + PATIENCE, stage))
        self.observer.stage_put_off(stage)
        self.observer.waiting(f"waiting for {stage.kind} {stage.id[:8]}, which {holder} works at")

    def halted(self, stage: Stage, saved: Sequence[str]) -> None:
        """Note that a stage was interrupted, and queue it again."""
        self.saved += saved
        self.observer.stage_put_off(stage)
        self.schedule.ready.appendleft(stage)

    def done(self, stage: Stage) -> None:
        """Note that a stage is in the store."""
        self.observer.stage_done(stage)
        for run in self.schedule.done(stage):
            self._save(run, run.stages)

    def failed(self, stage: Stage, reason: str, facts: Mapping[str, Any]) -> None:
        """Note that a stage failed, and with it every run that it belongs to.

        Args:
            stage: the failed stage.
            reason: in one line.
            facts: further entries of the records.
        """
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
