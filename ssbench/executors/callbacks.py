"""Call other packages when a stage starts, an epoch or a stage ends, or a run fails.

A package names a factory as an entry point of the group ``ssbench.callbacks``. ``ssbench run``
calls the factory once, with the folder of the experiment's records, and then those of these
functions that the returned object has, each with plain data, in the process that hands out stages:

    stage_started(stage)            see `described`
    epoch_finished(stage, epoch)    epoch: number, of, loss, error (%), images_per_second
    stage_finished(stage, record)   record: what docs/metrics.md lists
    run_failed(stage, reason)       stage: the run's last one
    close()                         nothing runs any more
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ssbench.errors import DamagedError, blamed
from ssbench.executors.listeners import Listener
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record
from ssbench.training.loop import Epoch

GROUP = "ssbench.callbacks"
Facts = dict[str, Any]


class Callbacks(Listener):
    """Calls callbacks; one that raises is named once and not called again.

    Args:
        made: the callbacks, by name.
        record_of: returns a finished stage's measurements by its id, or raises `DamagedError`.
        warn: receives one line about a callback that raised.
        refused: ids of runs that fail before any training, for the first time.
    """

    def __init__(
        self,
        made: Sequence[tuple[str, object]],
        record_of: Callable[[str], Record],
        warn: Callable[[str], None],
        refused: Collection[str] = (),
    ) -> None:
        self._made, self._record_of, self._warn = dict(made), record_of, warn
        self._refused = refused
        self._running: dict[str, Facts] = {}

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Tell the callbacks of a stage that starts."""
        self._running[stage.id] = described(run, stage)
        self._call("stage_started", self._running[stage.id])

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Tell the callbacks of a finished epoch."""
        if stage.id in self._running:
            self._call("epoch_finished", self._running[stage.id], asdict(epoch))

    def stage_done(self, stage: Stage) -> None:
        """Tell the callbacks of a stage that was started here and has a result."""
        facts = self._running.pop(stage.id, None)
        if facts is None:
            return
        try:
            record = self._record_of(stage.id)
        except DamagedError:  # the stage failed
            return
        self._call("stage_finished", facts, dict(record))

    def stage_put_off(self, stage: Stage) -> None:
        """Forget a stage that another process finishes, or that starts again later."""
        self._running.pop(stage.id, None)

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Tell the callbacks of a run that failed now."""
        if result["status"] == "failed" and (not before or run.id in self._refused):
            self._call("run_failed", described(run, run.stage), str(result["reason"]))

    def close(self) -> None:
        """Tell the callbacks that nothing runs any more."""
        self._call("close")

    def _call(self, event: str, *facts: object) -> None:
        for name, callback in list(self._made.items()):
            function = getattr(callback, event, None)
            if function is None:
                continue
            try:
                function(*facts)
            except Exception as error:  # other people's code raises anything
                del self._made[name]
                self._warn(f"callback {name}: {event}: {_said(error)}; it is not called again")


def load(folder: Path, warn: Callable[[str], None]) -> list[tuple[str, object]]:
    """Make the callbacks of all installed packages; one that cannot be made is named.

    Args:
        folder: of the experiment's records.
        warn: receives one line about a callback that cannot be made.
    """
    made = []
    for entry in entry_points(group=GROUP):
        try:
            made.append((entry.name, entry.load()(folder)))
        except Exception as error:  # other people's code raises anything
            warn(f"callback {entry.name}: cannot be made: {_said(error)}")
    return made


def described(run: Run, stage: Stage) -> Facts:
    """Describe a stage by plain values; ``run`` is the first of the runs that share it.

    ``epochs_before``: those of the stages before it, so that curves of one run follow each other.
    """
    return {
        "id": stage.id,
        "kind": stage.kind,
        "run": run.id,
        "experiment": run.experiment,
        "dataset": stage.dataset,
        "model": stage.model,
        "method": run.file.name,
        "label": run.label,
        "settings": dict(run.method.settings),
        "seed": stage.seed,
        "budget_unit": run.budget.unit if run.budget else None,
        "budget_asked": run.budget.kept if run.budget else None,
        "epochs": stage.epochs,
        "epochs_before": stage.epochs_total - stage.epochs,
    }


def _said(error: Exception) -> str:
    frame = blamed(error)
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    return f"{type(error).__name__}: {error}{place}"
