"""Carry out independent stages side by side, each in a process of its own, on one device.

Every stage is handed out once, whichever runs share it. A stage's result depends on nothing but its
settings and the number of threads, so that on a CPU records are bit-identical to sequential ones
of as many threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol, cast

from ssbench.errors import BadInputError
from ssbench.executors.coordinator import Coordinator
from ssbench.executors.local import PATIENCE
from ssbench.executors.processes.worker import (
    ASK,
    END,
    Began,
    Busy,
    Done,
    Failed,
    Halted,
    Message,
    Refused,
    Setup,
    Warned,
    work,
)
from ssbench.executors.stage_runner import Observer, Outcome
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.resume import ResumePoints
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch

GRACE = 5.0
"""Seconds that a worker has to end by itself."""


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
    try:
        with STOP.deferred():
            while clerk.goes_on(busy=(busy := _any_busy(crew))) or busy:
                _hand_out(clerk, crew, lambda: hire(setup), workers)
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
    clerk: Coordinator, crew: list[Worker], hire: Callable[[], Worker], workers: int
) -> None:
    """Give every idle worker a stage, as long as there are some."""
    idle = [worker for worker in crew if worker.stage is None]
    while clerk.schedule.ready and (idle or len(crew) < workers):
        stage = clerk.schedule.ready.popleft()
        if clerk.passes_over(stage):
            continue
        if not idle:
            idle.append(hire())
            crew.append(idle[-1])
        clerk.began(stage)
        idle.pop().give(stage)


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
    """

    stage: Stage | None
    lost: bool

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


class Process:
    """A process and the stage that it is at.

    Args:
        setup: what it needs to know.
        target: is called there, with ``setup``, its end of the pipe and ``more``.
        more: see there.
    """

    def __init__(self, setup: Setup, target: Callable[..., None] = work, *more: object) -> None:
        context = multiprocessing.get_context(
            "spawn"
        )  # a fork would share threads and CUDA's state
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=target, args=(setup, theirs, *more))
        # Ctrl-C, and a terminal that is closed, reach the whole group of processes; only this one
        # answers, and asks the others.
        # What asks is kept for a worker until it can handle it.
        resource_tracker.ensure_running()  # which else would do away with the mask
        handlers = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP)}
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [ASK])
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        theirs.close()
        self.stage: Stage | None = None
        self.lost = False

    @property
    def pipes(self) -> Sequence[Connection]:
        """The only one."""
        return (self.pipe,)

    def give(self, stage: Stage) -> None:
        """Tell it to carry out a stage."""
        self.stage = stage
        with suppress(BrokenPipeError):  # it died: `message` will find that
            self.pipe.send(stage)

    def message(self) -> Message:
        """Receive what it says; a worker that has died says how."""
        try:
            said: Message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.lost = True
            self.stop()
            code = self.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            advice = " (9: the system does that when memory runs out)" if code == -9 else ""
            kind = self.stage.kind if self.stage else ""
            return Failed(f"{kind}: the worker process {how}{advice}")
        if isinstance(said, Failed) and said.ends:
            self.lost = True
            self.stop()
        return said

    def ask(self) -> None:
        """Tell it to stop after the epoch that it is at."""
        self._send(ASK)

    def _send(self, number: int) -> None:
        if self.process.pid and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def dismiss(self) -> None:
        """Tell it to end at once; one that is idle ends by itself."""
        self.pipe.close()
        if self.stage and not self.lost:
            self._send(END)

    def stop(self) -> None:
        """End it, and wait until it has ended, which it has `GRACE` seconds for."""
        self.dismiss()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


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
