"""Run independent stages side by side, each in its own process, on one device.

A server that has imported everything and computed nothing forks the processes. One process runs
many stages, except those of methods that do not ship with ssbench: each of these has its own
process, which ends with it.

The pool runs each stage once, however many runs share it. A stage's result depends only on its
settings and the number of threads, so on a CPU the records are bit-identical to sequential ones
with the same number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Protocol, cast

from ssbench.errors import BadInputError
from ssbench.executors.coordinator import Coordinator
from ssbench.executors.local import PATIENCE
from ssbench.executors.processes.worker import (
    Began,
    Busy,
    Done,
    Failed,
    Halted,
    Message,
    Refused,
    Setup,
    Warned,
)
from ssbench.executors.stage_runner import Observer, Outcome
from ssbench.experiment.stage import Run, Stage
from ssbench.method.registry import is_ours
from ssbench.pipeline.resume import ResumePoints
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch


def execute_side_by_side(
    runs: Sequence[Run],
    setup: Setup,
    store: CheckpointStore,
    results: Results,
    observer: Observer,
    workers: int,
    make_worker: Callable[[Setup], Worker],
) -> Outcome:
    """Execute the runs that have no record yet, up to ``workers`` stages at a time.

    Args:
        runs: all runs.
        setup: for workers.
        store: of finished stages.
        results: of finished runs.
        observer: receives the progress.
        workers: the largest number of workers.
        make_worker: makes a worker: one process, or several that work jointly.

    Raises:
        BadInputError: a worker found the input at fault.
        Stopped: this process must end; the current trainings have been saved.
    """
    ResumePoints(store.part("partial"), setup.device, STOP, setup.save_every, observer.warn).tidy(
        store
    )
    coordinator = Coordinator(runs, store, results, observer)
    pool: list[Worker] = []

    def worker_for(stage: Stage) -> Worker:
        return make_worker(replace(setup, method_module=foreign_module(stage)))

    try:
        with STOP.deferred():
            while coordinator.goes_on(busy=(busy := _any_busy(pool))) or busy:
                _assign(coordinator, pool, worker_for, workers)
                _receive(coordinator, pool)
                if STOP.asked is not None:
                    _wind_down(coordinator, pool)
                    STOP.check(coordinator.saved)
    finally:
        with STOP.unheard():
            for worker in pool:
                worker.dismiss()
            for worker in pool:
                worker.stop()
    return coordinator.outcome


def _any_busy(pool: Sequence[Worker]) -> bool:
    return any(worker.stage for worker in pool)


def _assign(
    coordinator: Coordinator,
    pool: list[Worker],
    make_worker: Callable[[Stage], Worker],
    workers: int,
) -> None:
    """Assign ready stages, as long as fewer than ``workers`` are busy."""
    while coordinator.schedule.ready and sum(worker.stage is not None for worker in pool) < workers:
        stage = coordinator.schedule.ready.popleft()
        if coordinator.passes_over(stage):
            continue
        idle = [worker for worker in pool if worker.stage is None and not worker.serves_once]
        if foreign_module(stage) or not idle:
            idle = [make_worker(stage)]
            pool += idle
        coordinator.began(stage)
        idle[0].give(stage)


def foreign_module(stage: Stage) -> str:
    """Return the module of a stage's or its parents' method that does not ship with ssbench.

    Includes finetunings: their parent may have to be computed again.
    """
    methods = [type(each.method) for each in stage.chain() if each.method is not None]
    return next((cls.__module__ for cls in methods if not is_ours(cls)), "")


def _receive(coordinator: Coordinator, pool: list[Worker]) -> None:
    """Wait for messages or a request to stop, and handle them."""
    by_pipe = {pipe: worker for worker in pool if worker.stage for pipe in worker.pipes}
    for ready in wait([*by_pipe, *STOP.waits], PATIENCE if coordinator.waits else None):
        if isinstance(ready, Connection) and by_pipe[ready].stage:  # a group may have ended
            _take(coordinator, by_pipe[ready])
    pool[:] = [worker for worker in pool if not worker.lost]


def _wind_down(coordinator: Coordinator, pool: list[Worker]) -> None:
    """Let every worker finish and save its current epoch."""
    for worker in pool:
        worker.ask()
    while busy := {pipe: worker for worker in pool if worker.stage for pipe in worker.pipes}:
        pipe, *_ = wait(list(busy))  # one at a time: a group may end with it
        _take(coordinator, busy[cast("Connection", pipe)])


class Worker(Protocol):
    """Runs one stage at a time.

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

    def message(self) -> Message | None:
        """Receive its message; None: nothing that matters."""

    def ask(self) -> None:
        """Ask it to stop after the current epoch."""

    def dismiss(self) -> None:
        """Tell it to end at once."""

    def stop(self) -> None:
        """End it and wait for it."""


def _take(coordinator: Coordinator, worker: Worker) -> None:
    """Handle one message of a worker.

    Raises:
        BadInputError: the worker found the input at fault.
    """
    stage = worker.stage
    assert stage is not None  # only workers with a stage are waited for
    message = worker.message()
    if isinstance(message, Refused):
        raise BadInputError(message.message)
    if message is None or isinstance(message, Began):
        return
    if isinstance(message, Epoch):
        coordinator.epoch(stage, message)
    elif isinstance(message, Warned):
        coordinator.observer.warn(message.text)
    else:
        worker.stage = None
        if worker.serves_once and not worker.lost:
            worker.lost = True
            worker.stop()
        _end(coordinator, worker, stage, message)


def _end(
    coordinator: Coordinator, worker: Worker, stage: Stage, message: Done | Failed | Busy | Halted
) -> None:
    """Handle the end of a worker's stage."""
    if isinstance(message, Done):
        coordinator.done(stage)
    elif isinstance(message, Busy):
        coordinator.busy(stage, message.holder)
    elif isinstance(message, Halted):
        worker.lost = True
        coordinator.halted(stage, message.saved)
    elif worker.lost and STOP.asked is not None:
        return  # ended from outside like this process: no result of the stage
    else:
        coordinator.failed(stage, message.reason, message.facts)
