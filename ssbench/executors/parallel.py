"""Carry out independent stages side by side, each in a process of its own, on one device.

Every stage is handed out once, whichever runs share it. A stage's result depends on nothing but its
settings and the number of threads, so that on a CPU records are bit-identical to sequential ones
of as many threads.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol, cast

from ssbench.errors import BadInputError
from ssbench.executors.hand import Observer, Outcome
from ssbench.executors.schedule import Schedule
from ssbench.executors.worker import Failed, Message, Refused, Setup, work
from ssbench.record import Record, records
from ssbench.stage import Run, Stage
from ssbench.storage import Results, Store
from ssbench.training import Epoch

GRACE = 5.0
"""Seconds that a worker has to end by itself."""


def execute_side_by_side(
    runs: Sequence[Run],
    setup: Setup,
    store: Store,
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
    """
    clerk = _Clerk(runs, store, results, observer)
    crew: list[Worker] = []
    try:
        while clerk.schedule.ready or any(worker.stage for worker in crew):
            idle = [worker for worker in crew if worker.stage is None]
            while clerk.schedule.ready and (idle or len(crew) < workers):
                if not idle:
                    idle.append(hire(setup))
                    crew.append(idle[-1])
                clerk.hand_out(idle.pop())
            by_pipe = {pipe: worker for worker in crew if worker.stage for pipe in worker.pipes}
            for pipe in wait(list(by_pipe)):
                clerk.hear(by_pipe[cast("Connection", pipe)])
            crew = [worker for worker in crew if not worker.lost]
    finally:
        for worker in crew:
            worker.stop()
    return clerk.outcome


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

    def stop(self) -> None:
        """End it, whatever it is at."""


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
        # Ctrl-C reaches the whole group of processes; only this one answers, and ends the others.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
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
        return said

    def stop(self) -> None:
        """End it; one that is idle ends by itself."""
        self.pipe.close()
        if self.stage and not self.lost:
            self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Clerk:
    """Hands out stages, and writes down what comes of them."""

    def __init__(
        self, runs: Sequence[Run], store: Store, results: Results, observer: Observer
    ) -> None:
        self.store, self.results, self.observer = store, results, observer
        self.outcome = Outcome()
        found = {run.id: results.last(run.id) for run in runs}
        left = [run for run in runs if found[run.id] is None]
        self.schedule = Schedule(left, store)
        for run in runs:
            last = found[run.id]
            if last is not None:
                self._note(run, last, before=True)
        complete = set(self.schedule.complete())
        for run in left:
            if run.id in complete:
                self._save(run, records(run, [store.record(stage.id) for stage in run.stages]))

    def hand_out(self, worker: Worker) -> None:
        stage = self.schedule.ready.popleft()
        self.observer.stage_started(self.schedule.first_run(stage), stage)
        worker.give(stage)

    def hear(self, worker: Worker) -> None:
        """Take note of one message of a worker.

        Raises:
            BadInputError: the worker found the input at fault.
        """
        stage = worker.stage
        assert stage is not None  # noqa: S101 -- only workers with a stage are waited for
        said = worker.message()
        if said is None:
            return
        if isinstance(said, Refused):
            raise BadInputError(said.message)
        if isinstance(said, Epoch):
            self.observer.epoch(stage, said)
            return
        worker.stage = None
        self.observer.stage_done(stage)
        if isinstance(said, Failed):
            for run in self.schedule.failed(stage):
                before = run.stages[: [s.id for s in run.stages].index(stage.id)]
                measured = [self.store.record(s.id) for s in before]
                self._save(run, records(run, measured, said.reason))
            return
        for run in self.schedule.done(stage):
            self._save(run, records(run, [self.store.record(s.id) for s in run.stages]))

    def _save(self, run: Run, found: list[Record]) -> None:
        self.results.save(run.id, found)
        self._note(run, found[-1], before=False)

    def _note(self, run: Run, last: Record, *, before: bool) -> None:
        self.outcome.note(last)
        self.observer.run_done(run, last, before=before)
