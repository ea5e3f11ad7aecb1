"""Who hands out stages and writes down what comes of them, wherever they are carried out."""

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
    """Hands out the stages that are missing, and saves the records of the runs that they finish.

    Attributes:
        schedule: what can be handed out, and what is finished by what.
        left: the runs that had no record.
        outcome: how the runs ended so far.
        saved: what was saved of stages that were stopped half-way, each in a few words.
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

        Runs that come up again are planned anew when all that was planned before is done, by
        the workers too if they are ``busy``.
        """
        while self._put_off and self._put_off[0][0] <= time.monotonic():
            self.schedule.ready.append(self._put_off.popleft()[1])
        if self._again and not busy and not self.schedule.ready and not self._put_off:
            again, self._again = self._again, []
            self._plan(again)
        return bool(self.schedule.ready) or self.waits

    def passes_over(self, stage: Stage) -> bool:
        """Whether a stage failed in another process that works on these records; its runs do."""
        failure = failed_elsewhere(self.results, stage)
        if failure is None:
            return False
        self.failed(stage, str(failure), failure.facts)
        return True

    @property
    def waits(self) -> bool:
        """Whether something comes up again by itself."""
        return bool(self._put_off or self._again)

    def began(self, stage: Stage) -> None:
        """Note that a stage that was handed out begins."""
        self.observer.stage_started(self.schedule.first_run(stage), stage)

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Note a finished epoch."""
        self.observer.epoch(stage, epoch)

    def busy(self, stage: Stage, holder: str) -> None:
        """Note that another process is at a stage, which comes up again."""
        self._put_off.append((time.monotonic() + PATIENCE, stage))
        self.observer.stage_put_off(stage)
        self.observer.waiting(f"waiting for {stage.kind} {stage.id[:8]}, which {holder} is at")

    def halted(self, stage: Stage, saved: Sequence[str]) -> None:
        """Note that a stage was stopped half-way; it comes up again, unless all is to end."""
        self.saved += saved
        self.observer.stage_put_off(stage)
        self.schedule.ready.appendleft(stage)

    def done(self, stage: Stage) -> None:
        """Note that a stage is in the store."""
        self.observer.stage_done(stage)
        for run in self.schedule.done(stage):
            self._save(run, run.stages)

    def failed(self, stage: Stage, reason: str, facts: Mapping[str, Any]) -> None:
        """Note that a stage could not be finished: every run that it belongs to fails.

        Args:
            stage: which one.
            reason: why, in one line.
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
        """Write a run's records; one whose stages are damaged or gone comes up again."""
        try:
            measured = [self.store.record(stage.id) for stage in stages]
        except DamagedError as error:
            self.observer.warn(f"{error.told}; computed anew")
            self._clear(run)
            self._again.append(run)
            return
        found = records(run, measured, reason, facts or {})
        self.results.save(run.id, found)
        self._note(run, found[-1], before=False)

    def _clear(self, run: Run) -> None:
        """Take the damaged ones of a run's stages out of the store."""
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
