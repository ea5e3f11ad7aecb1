"""Carry out independent stages side by side, each in a process of its own, on one device.

Every stage is handed out once, whichever runs share it. A stage's result depends on nothing but its
settings and the number of threads, so that on a CPU records are bit-identical to sequential ones
of as many threads.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import cast

from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.hand import Observer, Outcome
from ssbench.executors.local import PATIENCE
from ssbench.executors.schedule import Schedule
from ssbench.executors.worker import Busy, Done, Failed, Message, Refused, Setup, Told, work
from ssbench.locks import BusyError
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
) -> Outcome:
    """Carry out the runs that have no record yet, up to ``workers`` stages at a time.

    Raises:
        BadInputError: a worker found the input at fault.
    """
    clerk = _Clerk(runs, store, results, observer)
    crew: list[_Worker] = []
    try:
        while clerk.goes_on(busy := any(worker.stage for worker in crew)) or busy:
            idle = [worker for worker in crew if worker.stage is None]
            while clerk.schedule.ready and (idle or len(crew) < workers):
                if not idle:
                    idle.append(_Worker(setup))
                    crew.append(idle[-1])
                clerk.hand_out(idle.pop())
            by_pipe = {worker.pipe: worker for worker in crew if worker.stage}
            for pipe in wait(list(by_pipe), PATIENCE if clerk.waits else None):
                clerk.hear(by_pipe[cast("Connection", pipe)])
            crew = [worker for worker in crew if not worker.lost]
    finally:
        for worker in crew:
            worker.stop()
    return clerk.outcome


class _Worker:
    """A process and the stage that it is at."""

    def __init__(self, setup: Setup) -> None:
        context = multiprocessing.get_context(
            "spawn"
        )  # a fork would share threads and CUDA's state
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(setup, theirs), daemon=True)
        # Ctrl-C reaches the whole group of processes; only this one answers, and ends the others.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()
        self.stage: Stage | None = None
        self.lost = False

    def give(self, stage: Stage) -> None:
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
        self.pipe.close()
        if self.stage and not self.lost:
            self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Clerk:
    """Hands out stages, and writes down what comes of them.

    Attributes:
        put_off: stages that another process is at, and the time at which they come up again.
    """

    def __init__(
        self, runs: Sequence[Run], store: Store, results: Results, observer: Observer
    ) -> None:
        self.store, self.results, self.observer = store, results, observer
        results.tell = observer.damaged
        self.outcome = Outcome()
        self.put_off: deque[tuple[float, Stage]] = deque()
        self._again: list[Run] = []
        self._plan(runs)

    def _plan(self, runs: Sequence[Run]) -> None:
        found = {run.id: self.results.last(run.id) for run in runs}
        left = [run for run in runs if found[run.id] is None]
        self.schedule = Schedule(left, self.store)
        for run in runs:
            last = found[run.id]
            if last is not None:
                self._note(run, last, before=True)
        complete = set(self.schedule.complete())
        for run in left:
            if run.id in complete:
                self._save(run, run.stages)

    def goes_on(self, busy: bool) -> bool:
        """Whether there are stages to hand out, now or later.

        Runs that come up again are planned anew when all that was planned before is done, by
        the workers too if they are ``busy``.
        """
        while self.put_off and self.put_off[0][0] <= time.monotonic():
            self.schedule.ready.append(self.put_off.popleft()[1])
        if self._again and not busy and not self.schedule.ready and not self.put_off:
            again, self._again = self._again, []
            self._plan(again)
        return bool(self.schedule.ready) or self.waits

    @property
    def waits(self) -> bool:
        """Whether something comes up again by itself."""
        return bool(self.put_off or self._again)

    def hand_out(self, worker: _Worker) -> None:
        stage = self.schedule.ready.popleft()
        self.observer.stage_started(self.schedule.first_run(stage), stage)
        worker.give(stage)

    def hear(self, worker: _Worker) -> None:
        """Take note of one message of a worker.

        Raises:
            BadInputError: the worker found the input at fault.
        """
        stage = worker.stage
        assert stage is not None  # noqa: S101 -- only workers with a stage are waited for
        said = worker.message()
        if isinstance(said, Refused):
            raise BadInputError(said.message)
        if isinstance(said, Epoch):
            self.observer.epoch(stage, said)
        elif isinstance(said, Told):
            self.observer.damaged(said.what)
        else:
            worker.stage = None
            self._ended(stage, said)

    def _ended(self, stage: Stage, said: Done | Failed | Busy) -> None:
        if isinstance(said, Busy):
            self.put_off.append((time.monotonic() + PATIENCE, stage))
            self.observer.stage_put_off(stage)
            self.observer.waiting(
                f"waiting for {stage.kind} {stage.id[:8]}, which {said.holder} is at"
            )
            return
        self.observer.stage_done(stage)
        if isinstance(said, Failed):
            for run in self.schedule.failed(stage):
                before = run.stages[: [s.id for s in run.stages].index(stage.id)]
                self._save(run, before, said.reason)
            return
        for run in self.schedule.done(stage):
            self._save(run, run.stages)

    def _save(self, run: Run, stages: Sequence[Stage], reason: str | None = None) -> None:
        """Write a run's records; one whose stages are damaged or gone comes up again."""
        try:
            measured = [self.store.record(stage.id) for stage in stages]
        except DamagedError as error:
            self.observer.damaged(f"{error.told}; computed anew")
            self._clear(run)
            self._again.append(run)
            return
        found = records(run, measured, reason)
        self.results.save(run.id, found)
        self._note(run, found[-1], before=False)

    def _clear(self, run: Run) -> None:
        """Take the damaged ones of a run's stages out of the store."""
        for stage in run.stages:
            try:
                with self.store.lock(stage.id):
                    self.store.record(stage.id)
            except DamagedError:
                self.store.remove(stage.id)
            except BusyError:
                continue

    def _note(self, run: Run, last: Record, *, before: bool) -> None:
        self.outcome.note(last)
        self.observer.run_done(run, last, before=before)
