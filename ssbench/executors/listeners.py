"""Pass the progress of runs on: to the display, to files for watchers, and to callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ssbench.executors.progress import Quiet, Work, describe
from ssbench.executors.stage_runner import Observer
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record
from ssbench.storage.live import LiveFiles, RunNow, StageNow, now
from ssbench.training.loop import Epoch

EVERY = 1.0
"""The least number of seconds between two writes of one file."""


class Listener:
    """Receives progress beside the display, and does nothing with it."""

    def stage_started(self, run: Run, stage: Stage) -> None:
        """A stage starts; ``run`` is the first of its runs."""

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """An epoch is finished."""

    def stage_done(self, stage: Stage) -> None:
        """A stage ended, now or before."""

    def stage_put_off(self, stage: Stage) -> None:
        """A stage does not run here for now."""

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """A run is finished, now or ``before``."""

    def close(self) -> None:
        """Nothing runs any more."""


class Broadcast:
    """An observer that passes everything to a display first, and then to listeners."""

    def __init__(self, display: Quiet, listeners: Sequence[Listener]) -> None:
        self._display = display
        self._all: list[Quiet | Listener] = [display, *listeners]

    def stage_started(self, run: Run, stage: Stage) -> None:
        """A stage starts."""
        for each in self._all:
            each.stage_started(run, stage)

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """An epoch is finished."""
        for each in self._all:
            each.epoch(stage, epoch)

    def stage_done(self, stage: Stage) -> None:
        """A stage is finished."""
        for each in self._all:
            each.stage_done(stage)

    def stage_put_off(self, stage: Stage) -> None:
        """A stage does not run here for now."""
        for each in self._all:
            each.stage_put_off(stage)

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """A run is finished."""
        for each in self._all:
            each.run_done(run, result, before=before)

    def waiting(self, what: str) -> None:
        """The executor waits."""
        self._display.waiting(what)

    def warn(self, text: str) -> None:
        """Something is wrong but changes no result."""
        self._display.warn(text)


@contextmanager
def listening(display: Quiet, listeners: Sequence[Listener]) -> Iterator[Observer]:
    """Enclose runs whose progress goes to a display and to listeners, which are closed then."""
    with ExitStack() as stack:
        stack.enter_context(display)
        for each in listeners:
            stack.callback(each.close)
        yield Broadcast(display, listeners)


class Recorder(Listener):
    """Writes the state of the run and of each running stage, at most once a second.

    Args:
        runs: all runs.
        folder: of the experiment's records.
        clock: in seconds.
    """

    def __init__(
        self, runs: Sequence[Run], folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files, self._clock = LiveFiles(folder), clock
        self._work, self._total = Work(runs), len(runs)
        self._experiment, self._began = folder.name, now()
        self._finished = self._failed = 0
        self._states: dict[str, StageNow] = {}
        self._written: dict[str, float] = {}
        self._tell()

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Write the stage's first state."""
        self._work.start()
        self._states[stage.id] = StageNow(
            stage.id, stage.kind, describe(run), now(), 0, stage.epochs, [], []
        )
        self._files.put(self._states[stage.id])
        self._written[stage.id] = self._clock()

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Add an epoch to the stage's curves."""
        self._work.epoch(stage, epoch)
        before = self._states.get(stage.id)
        if before is None:
            return
        state = StageNow(
            stage=before.stage,
            kind=before.kind,
            run=before.run,
            started=before.started,
            epoch=epoch.number,
            epochs=epoch.of,
            loss=[*before.loss, epoch.loss if math.isfinite(epoch.loss) else None],
            error=[*before.error, epoch.error],
            images_per_second=epoch.images_per_second,
        )
        self._states[stage.id] = state
        if self._is_due(stage.id):
            self._files.put(state)
        self._tell()

    def stage_done(self, stage: Stage) -> None:
        """Remove the stage's file."""
        self._work.finish(stage)
        self.stage_put_off(stage)

    def stage_put_off(self, stage: Stage) -> None:
        """Remove the stage's file."""
        if self._states.pop(stage.id, None):
            self._files.remove(stage.id)

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Count a finished run."""
        del before
        for stage in run.stages:
            self._work.finish(stage)
        self._finished += 1
        self._failed += result["status"] == "failed"
        self._tell()

    def close(self) -> None:
        """Remove all files."""
        self._files.close()

    def state(self) -> tuple[RunNow, list[StageNow]]:
        """Return the state of the run and of all running stages."""
        run = RunNow(
            self._experiment,
            self._total,
            self._finished,
            self._failed,
            self._work.seconds_left(),
            self._began,
        )
        return run, list(self._states.values())

    def _tell(self) -> None:
        if self._is_due(""):
            self._files.put(self.state()[0])

    def _is_due(self, what: str) -> bool:
        if self._clock() - self._written.get(what, -math.inf) < EVERY:
            return False
        self._written[what] = self._clock()
        return True
