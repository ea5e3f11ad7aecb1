"""Executors by name: those of ssbench, and entry points of the group ``ssbench.executors``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from ssbench.errors import BadInputError
from ssbench.executors.protocol import Executor, Job
from ssbench.experiment.stage import Run

GROUP = "ssbench.executors"
OURS = {
    "local": "ssbench.executors.local:LocalExecutor",
    "processes": "ssbench.executors.processes.pool:ProcessExecutor",
    "ray": "ssbench.executors.ray.executor:RayExecutor",
}


def find(name: str) -> type[Executor]:
    """Import an executor.

    Raises:
        BadInputError: there is none of this name (lists all names), or it cannot be imported.
    """
    known = {each.name: each for each in entry_points(group=GROUP)}
    known |= {own: EntryPoint(own, place, GROUP) for own, place in OURS.items()}
    if name not in known:
        names = ", ".join(sorted(known))
        raise BadInputError(f"--executor {name}: there is no such executor; choose one of {names}")
    entry = known[name]
    try:
        executor = entry.load()
    except Exception as error:  # another package's code may raise anything while it is imported
        why = f"{type(error).__name__}: {error}"
        raise BadInputError(f"--executor {name}: {entry.value} cannot be loaded ({why})") from error
    if not (isinstance(executor, type) and issubclass(executor, Executor)):
        raise BadInputError(
            f"--executor {name}: {entry.value} is no subclass of ssbench.executors.protocol."
            "Executor; derive it from that"
        )
    return executor


def choose(job: Job, runs: Sequence[Run]) -> type[Executor]:
    """Return the executor for these runs.

    ``local`` leaves to ``processes`` what needs several processes, and methods that do not ship
    with ssbench: their code could change this process, and so all other runs.
    """
    where = job.where
    several = where.concurrency not in (None, 1) or where.devices > 1
    if where.executor == "local" and (
        several or any(stage.foreign_module for run in runs for stage in run.stages)
    ):
        return find("processes")
    return find(where.executor)
