"""Carry out independent stages side by side, each in a process of its own, on one device.

Processes are forked from a server that has imported all that they need and computed nothing. One
carries out stage after stage, but those of methods that do not ship with ssbench: each of them has
a process for itself, which ends with it.

Every stage is handed out once, whichever runs share it. A stage's result depends on nothing but its
settings and the number of threads, so that on a CPU records are bit-identical to sequential ones
of as many threads.
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
    hire: Callable[[Setup], Worker],
) -> Outcome:
    """Carry out the runs that have no record yet, up to ``workers`` stages at a time.

    Args:
        runs: all of them.
        setup: what workers need to know.
        store: of finished stages.
        results: of finished runs.
        observer: is told how far things are.
        workers: the most of them.
        hire: makes one: a process, or several that work jointly.

    Raises:
        BadInputError: a worker found the input at fault.
        Stopped: the process is to end; trainings under way have been saved.
    """
    ResumePoints(store.part("partial"), setup.device, STOP, setup.save_every, observer.warn).tidy(
        store
    )
    clerk = Coordinator(runs, store, results, observer)
    crew: list[Worker] = []

    def hire_for(stage: Stage) -> Worker:
        return hire(replace(setup, method_module=foreign_module(stage)))

    try:
        with STOP.deferred():
            while clerk.goes_on(busy=(busy := _any_busy(crew))) or busy:
                _hand_out(clerk, crew, hire_for, workers)
                _hear(clerk, crew)
                if STOP.asked is not None:
                    _wind_down(clerk, crew)
                    STOP.check(clerk.saved)
    finally:
        with STOP.unheard():
            for worker in crew:
                worker.dismiss()
            for worker in crew:
                worker.stop()
    return clerk.outcome


def _any_busy(crew: Sequence[Worker]) -> bool:
    return any(worker.stage for worker in crew)


def _hand_out(
    clerk: Coordinator, crew: list[Worker], hire: Callable[[Stage], Worker], workers: int
) -> None:
    """Give out stages, as long as fewer than ``workers`` are at one."""
    while clerk.schedule.ready and sum(worker.stage is not None for worker in crew) < workers:
        stage = clerk.schedule.ready.popleft()
        if clerk.passes_over(stage):
            continue
        idle = [worker for worker in crew if worker.stage is None and not worker.serves_once]
        if foreign_module(stage) or not idle:
            idle = [hire(stage)]
            crew += idle
        clerk.began(stage)
        idle[0].give(stage)


def foreign_module(stage: Stage) -> str:
    """The module of the method of a stage or its parents, if it does not ship with ssbench.

    A finetuning belongs to it too: its parent may have to be computed anew.
    """
    methods = [type(each.method) for each in stage.chain() if each.method is not None]
    return next((cls.__module__ for cls in methods if not is_ours(cls)), "")


def _hear(clerk: Coordinator, crew: list[Worker]) -> None:
    """Wait for messages, or for a request to stop, and take note of them."""
    by_pipe = {pipe: worker for worker in crew if worker.stage for pipe in worker.pipes}
    for ready in wait([*by_pipe, *STOP.waits], PATIENCE if clerk.waits else None):
        if isinstance(ready, Connection) and by_pipe[ready].stage:  # a team may have ended
            _take(clerk, by_pipe[ready])
    crew[:] = [worker for worker in crew if not worker.lost]


def _wind_down(clerk: Coordinator, crew: list[Worker]) -> None:
    """Let every worker finish and save the epoch that it is at."""
    for worker in crew:
        worker.ask()
    while busy := {pipe: worker for worker in crew if worker.stage for pipe in worker.pipes}:
        pipe, *_ = wait(list(busy))  # one at a time: a team may end with it
        _take(clerk, busy[cast("Connection", pipe)])


class Worker(Protocol):
    """Whoever carries out a stage at a time.

    Attributes:
        stage: the one that it is at; None: it waits for one.
        lost: whether it can carry out no more.
        serves_once: whether it carries out no second stage.
    """

    stage: Stage | None
    lost: bool
    serves_once: bool

    @property
    def pipes(self) -> Sequence[Connection]:
        """Where it may have something to say."""

    def give(self, stage: Stage) -> None:
        """Tell it to carry out a stage."""

    def message(self) -> Message | None:
        """Hear what it says; None: nothing that matters."""

    def ask(self) -> None:
        """Tell it to stop after the epoch that it is at."""

    def dismiss(self) -> None:
        """Tell it to end, whatever it is at."""

    def stop(self) -> None:
        """End it, and wait until it has ended."""


def _take(clerk: Coordinator, worker: Worker) -> None:
    """Take note of one message of a worker.

    Raises:
        BadInputError: the worker found the input at fault.
    """
    stage = worker.stage
    assert stage is not None  # only workers with a stage are waited for
    said = worker.message()
    if isinstance(said, Refused):
        raise BadInputError(said.message)
    if said is None or isinstance(said, Began):
        return
    if isinstance(said, Epoch):
        clerk.epoch(stage, said)
    elif isinstance(said, Warned):
        clerk.observer.warn(said.text)
    else:
        worker.stage = None
        if worker.serves_once and not worker.lost:
            worker.lost = True
            worker.stop()
        _end(clerk, worker, stage, said)


def _end(
    clerk: Coordinator, worker: Worker, stage: Stage, said: Done | Failed | Busy | Halted
) -> None:
    """Take note of how a worker's stage ended."""
    if isinstance(said, Done):
        clerk.done(stage)
    elif isinstance(said, Busy):
        clerk.busy(stage, said.holder)
    elif isinstance(said, Halted):
        worker.lost = True
        clerk.halted(stage, said.saved)
    elif worker.lost and STOP.asked is not None:
        return  # it was ended from outside like this process: that is no result of the stage
    else:
        clerk.failed(stage, said.reason, said.facts)
