"""Carry out runs one after the other: methods that ship with ssbench here, others elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.errors import BadInputError
from ssbench.executors.local import execute
from ssbench.executors.processes.pool import execute_side_by_side, foreign_module
from ssbench.executors.processes.process import Process
from ssbench.executors.processes.worker import Setup
from ssbench.executors.stage_runner import Observer, Outcome
from ssbench.experiment.stage import Run
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results


def execute_one_by_one(
    runs: Sequence[Run],
    workbench: Workbench,
    store: CheckpointStore,
    results: Results,
    observer: Observer,
    setup: Setup,
) -> Outcome:
    """Carry out the runs that have no record yet, one stage at a time.

    Where a method does not ship with ssbench, no stage is carried out in this process, which has
    imported it: one worker does those of all other methods, and each of its own has a worker.

    Args:
        runs: all of them.
        workbench: the data set on the device, for stages that are carried out here.
        store: of finished stages.
        results: of finished runs.
        observer: is told how far things are.
        setup: for workers.

    Raises:
        BadInputError: a worker found the input at fault, or only this process sees the cache.
        Stopped: the process is to end; a training under way has been saved.
    """
    missing = [run for run in runs if not results.has(run.id)]
    foreign = {run.file.name for run in missing if any(map(foreign_module, run.stages))}
    if not foreign:
        return execute(runs, workbench, store, results, observer, setup.save_every)
    if str(setup.cache).startswith("memory://"):
        raise BadInputError(
            f"--cache {setup.cache}: only this process sees it, and {min(foreign)} is carried out "
            "in another one; name a folder"
        )
    return execute_side_by_side(runs, setup, store, results, observer, 1, Process)
