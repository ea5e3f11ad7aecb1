"""`ssbench run --live`: the report's page shows what runs, and reloads itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ssbench.errors import BadInputError
from ssbench.executors.listeners import Listener, Recorder
from ssbench.executors.progress import duration
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record
from ssbench.report.freshness import forget
from ssbench.report.live import SECONDS, live_page
from ssbench.storage.files import write
from ssbench.training.loop import Epoch

SHARE = 0.02
"""The largest share of the time that goes into the page."""


class LivePage(Listener):
    """Writes ``report.html`` whole again and again; the report replaces it in the end.

    Args:
        folder: of the records.
        recorder: knows what runs; comes first in the list of listeners.
        clock: in seconds.
    """

    def __init__(
        self, folder: Path, recorder: Recorder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._recorder, self._clock = folder, recorder, clock
        self._due = -1.0
        forget(folder)
        self._write()

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Show the new stage."""
        del run, stage
        self._write()

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Show the new point of the curves."""
        del stage, epoch
        self._write()

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Show the new row."""
        del run, result
        if not before:
            self._write()

    def _write(self) -> None:
        began = self._clock()
        if began < self._due:
            return
        run, stages = self._recorder.state()
        with suppress(BadInputError):  # damaged records, a full disk: the run tells about them
            left = duration(run.seconds_left)
            write(self._folder / "report.html", live_page(self._folder, run, stages, left))
        took = self._clock() - began
        self._due = began + max(SECONDS, took / SHARE)
