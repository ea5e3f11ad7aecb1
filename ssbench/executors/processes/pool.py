"""Run independent stages side by side, each in its own process, on one device.

A server that has imported everything and computed nothing forks the processes. One process runs
many stages, except those of methods that do not ship with ssbench: each of these has its own
process, which ends with it.

Each stage runs once, however many runs share it. A stage's result depends only on its settings and
the number of threads, so on a CPU the records are bit-identical to sequential ones with the same
number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

import torch

from ssbench.errors import BadInputError
from ssbench.executors.capacity import cores, fitting
from ssbench.executors.processes.ddp_group import DDPGroup
from ssbench.executors.processes.process import Process
from ssbench.executors.processes.worker import Setup
from ssbench.executors.protocol import (
    Began,
    Executor,
    Failed,
    Halted,
    Job,
    Message,
    Refused,
    Report,
    Warned,
)
from ssbench.experiment.stage import Run, Stage
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch


class Worker(Protocol):
    """Runs one stage at a time: one process, or several that work jointly.

    Attributes:
        stage: the current one; None: idle.
        lost: whether it can run no further stage.
        serves_once: whether it runs only one stage.
    """

    stage: Stage | None
    lost: bool
    serves_once: bool

    @property
    def pipes(self) -> Sequence[Connection]:
        """The pipes of its messages."""

    def give(self, stage: Stage) -> None:
        """Send it a stage."""

    def message(self) -> Message:
        """Receive its message."""

    def ask(self) -> None:
        """Ask it to stop after the current epoch."""

    def dismiss(self) -> None:
        """Tell it to end at once."""

    def stop(self) -> None:
        """End it and wait for it."""


class ProcessExecutor(Executor):
    """Runs up to ``concurrency`` stages at a time, each in a process or on several devices."""

    takes = frozenset({"concurrency", "devices"})

    def __init__(self, job: Job, runs: Sequence[Run], report: Report) -> None:
        if str(job.cache).startswith("memory://"):
            raise BadInputError(
                f"--cache {job.cache}: only this process sees it, and stages run in others "
                "(because of --concurrency, --devices or a method of your own); choose a folder"
            )
        auto, devices = job.where.concurrency == "auto", job.where.devices
        self._most = fitting(runs, job.workbench) if auto else int(job.where.concurrency or 1)
        self._setup = setup_of(job, self._most * devices)
        self._make: Callable[[Setup], Worker] = (
            partial(DDPGroup, devices=devices) if devices > 1 else Process
        )
        self._report, self._pool, self._halts = report, list[Worker](), False

    def room(self) -> bool:
        """Whether fewer workers than allowed are busy."""
        return sum(worker.stage is not None for worker in self._pool) < self._most

    def submit(self, stage: Stage) -> None:
        """Give a stage to an idle worker, or to a new one."""
        module = stage.foreign_module
        idle = [worker for worker in self._pool if worker.stage is None and not worker.serves_once]
        if module or not idle:
            idle = [self._make(replace(self._setup, method_module=module))]
            self._pool += idle
        idle[0].give(stage)

    def collect(self, seconds: float | None) -> None:
        """Wait for messages or a request to stop."""
        busy = {pipe: worker for worker in self._pool if worker.stage for pipe in worker.pipes}
        for ready in wait([*busy, *([] if self._halts else STOP.waits)], seconds):
            if isinstance(ready, Connection) and busy[ready].stage:  # a group may have ended
                self._take(busy[ready])
        self._pool = [worker for worker in self._pool if not worker.lost]

    def _take(self, worker: Worker) -> None:
        stage, message = worker.stage, worker.message()
        assert stage is not None  # only workers with a stage are waited for
        if not isinstance(message, Began | Epoch | Warned):
            worker.stage = None
            if isinstance(message, Failed) and worker.lost and STOP.asked is not None:
                message = Halted()  # ended from outside like this process: no result of the stage
            ends = worker.serves_once or isinstance(message, Halted | Refused)
            if ends and not worker.lost:
                worker.lost = True
                worker.stop()
        self._report(stage, message)

    def halt(self) -> None:
        """Ask every worker to end after its current epoch, and to save it."""
        self._halts = True
        for worker in self._pool:
            worker.ask()

    def close(self) -> None:
        """End all workers, the busy ones at once."""
        for worker in self._pool:
            worker.dismiss()
        for worker in self._pool:
            worker.stop()


def setup_of(job: Job, processes: int) -> Setup:
    """Return a worker's settings for this number of processes side by side."""
    threads = torch.get_num_threads()
    return Setup(
        dataset=job.dataset,
        data=job.data,
        fingerprint=job.workbench.dataset.fingerprint if job.workbench.dataset.facts else "",
        data_root=job.data_root.absolute(),
        device=str(job.workbench.device),
        method_files=tuple(path.absolute() for path in job.method_files),
        # A method may change the working folder of its process.
        cache=job.cache if "://" in str(job.cache) else Path(job.cache).absolute(),
        threads=max(min(threads, cores()) // processes, 1) if processes > 1 else threads,
        save_every=job.where.save_every,
    )
