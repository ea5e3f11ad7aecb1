"""Execute runs one after the other: ssbench's methods here, others in other processes."""

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
    """Execute the runs that have no record yet, one stage at a time.

    If a method does not ship with ssbench, this process, which has imported it, runs no stage: one
    worker runs the stages of ssbench's methods; each stage of another method has its own worker.

    Args:
        runs: all runs.
        workbench: the data set on the device, for stages in this process.
        store: of finished stages.
        results: of finished runs.
        observer: receives the progress.
        setup: for workers.

    Raises:
        BadInputError: a worker found the input at fault, or only this process sees the cache.
        Stopped: this process must end; the current training has been saved.
    """
    missing = [run for run in runs if not results.has(run.id)]
    foreign = {run.file.name for run in missing if any(map(foreign_module, run.stages))}
    if not foreign:
        return execute(runs, workbench, store, results, observer, setup.save_every)
    if str(setup.cache).startswith("memory://"):
        raise BadInputError(
            f"--cache {setup.cache}: only this process sees it, and {min(foreign)} runs "
            "in another one; choose a folder"
        )
    return execute_side_by_side(runs, setup, store, results, observer, 1, Process)
