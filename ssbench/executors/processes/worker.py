"""A process that runs the stages that it receives through a pipe, one after the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread

import torch

from ssbench.data.own.settings import DataSettings
from ssbench.data.registry import open_same
from ssbench.data.without_test import open_without_test
from ssbench.errors import BadInputError
from ssbench.executors.stage_runner import StageFailedError, StageRunner
from ssbench.experiment.stage import Stage
from ssbench.method.registry import import_one
from ssbench.pipeline.record import Record
from ssbench.pipeline.resume import ResumePoints
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.interrupt import SAVE_EVERY, STOP, Ended, Stopped
from ssbench.training.loop import Epoch


@dataclass(frozen=True)
class Setup:
    """A worker's settings.

    Attributes:
        threads: number of threads that torch may use in this process.
        data: how to prepare images of one's own.
        fingerprint: of images of one's own.
        save_every: seconds between two saves of a training.
        method_module: of a method that does not ship with ssbench: this process runs only one stage
            of it and withholds the test images from the method; empty: this process runs stages of
            ssbench's methods.
    """

    dataset: str
    data_root: Path
    device: str
    method_files: tuple[Path, ...]
    cache: Path | str
    threads: int
    save_every: float = SAVE_EVERY
    method_module: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    fingerprint: str = ""


@dataclass(frozen=True)
class Began:
    """A stage's computation starts; its helpers may start, too."""

    stage: Stage


@dataclass(frozen=True)
class Done:
    """The stage is in the store."""


@dataclass(frozen=True)
class Failed:
    """The stage failed.

    Attributes:
        facts: further keys of the record.
        ends: whether the worker has lost its device and must be replaced.
    """

    reason: str
    facts: Record = field(default_factory=dict)
    ends: bool = False


@dataclass(frozen=True)
class Warned:
    """Something odd that changes no result."""

    text: str


@dataclass(frozen=True)
class Halted:
    """The worker ends as asked; ``saved`` names what it saved of its stage."""

    saved: tuple[str, ...]


@dataclass(frozen=True)
class Busy:
    """Another process holds the stage or its parent."""

    holder: str


@dataclass(frozen=True)
class Refused:
    """The input is at fault; no stage can go on."""

    message: str


Message = Epoch | Began | Done | Failed | Busy | Warned | Halted | Refused
ASK, END = signal.SIGTERM, signal.SIGUSR1
"""The first ends a worker after the current epoch, the second at once. The first may come more than
once: who preempts a job sends it to all processes."""


def work(setup: Setup, pipe: Connection) -> None:
    """Run every stage from the pipe, until the other end closes it."""
    serve(pipe, setup.threads, lambda: partial(carry_out, open_runner(setup, pipe), pipe))


def serve(
    pipe: Connection, threads: int, begin: Callable[[], Callable[[Stage], Message | None]]
) -> None:
    """Answer every stage from the pipe, until the other end closes it.

    Args:
        pipe: to the parent process.
        threads: number of threads that torch may use.
        begin: makes the function that answers; its answer None is not sent.
    """
    signal.signal(END, _end)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        with STOP.signals([ASK], insists=False):
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [ASK])  # pending until now
                _answer(pipe, begin())
            except Stopped as stopped:
                _say(pipe, Halted(stopped.saved))
    except BadInputError as error:
        _say(pipe, Refused(str(error)))
    except StageFailedError as failure:
        _say(pipe, failed(failure))
    except (EOFError, ConnectionError):
        return  # the parent is gone: nobody needs the rest
    finally:
        signal.signal(END, signal.SIG_DFL)  # do not disturb Python's own shutdown


def _end(*_: object) -> None:
    """End the process, but run its cleanup."""
    raise Ended(1)


def _answer(pipe: Connection, answer: Callable[[Stage], Message | None]) -> None:
    while True:
        said = answer(pipe.recv())
        if said is not None:
            with STOP.deferred():
                pipe.send(said)


def _say(pipe: Connection, last: Message) -> None:
    with suppress(ConnectionError):
        pipe.send(last)


def _end_with_parent() -> None:
    """End this process when its parent is gone, even during a training.

    Otherwise a killed run would leave processes behind. The store writes completely or not at all,
    so the process may end at any moment.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def open_runner(setup: Setup, pipe: Connection, spread: SingleProcess | None = None) -> StageRunner:
    """Open the data set on the device; ``spread`` knows the processes that train jointly.

    Raises:
        BadInputError: the data set cannot be opened, or the store is not writable.
        StageFailedError: the import of the method from elsewhere fails.
    """
    isolated = bool(setup.method_module)
    if isolated:
        dataset = open_without_test(
            setup.dataset, setup.data_root, setup.method_module, setup.data, setup.fingerprint
        )
    else:
        dataset = open_same(setup.dataset, setup.data_root, setup.data, setup.fingerprint)
    workbench, store = (
        Workbench(dataset, torch.device(setup.device), spread),
        CheckpointStore(setup.cache),
    )
    if isolated:
        try:
            import_one(setup.method_module, setup.method_files)
        except BadInputError as error:
            raise StageFailedError(str(error), {}) from error

    def warn(text: str) -> None:
        pipe.send(Warned(text))

    partials = ResumePoints(
        store.part("partial"),
        workbench.device.type,
        STOP,
        setup.save_every,
        warn,
        writes=not workbench.spread.helps,
    )
    return StageRunner(workbench, store, partials, warn, isolated=isolated)


def failed(failure: StageFailedError) -> Failed:
    """Return the message about a failed stage."""
    return Failed(str(failure), failure.facts, failure.lost)


def carry_out(
    runner: StageRunner,
    pipe: Connection,
    stage: Stage,
    tell: Callable[[StageFailedError], Failed] = failed,
) -> Message:
    """Run and save a stage, sending every epoch; ``tell`` makes the message of a failure."""
    gone: list[BrokenPipeError] = []

    def listen(epoch: Epoch) -> None:
        try:
            pipe.send(epoch)
        except BrokenPipeError as error:
            gone.append(error)
            raise

    def begins(stage: Stage) -> None:
        with STOP.deferred():
            pipe.send(Began(stage))

    try:
        runner.carry_out(stage, listen, begins)
    except BusyError as busy:
        return Busy(busy.holder)
    except StageFailedError as failure:
        if gone:
            raise gone[0] from failure
        return tell(failure)
    return Done()
