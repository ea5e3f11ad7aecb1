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
from ssbench.executors.protocol import Failed, Halted, Message, Refused, Warned
from ssbench.executors.stage_runner import StageFailedError, StageRunner, run_stage
from ssbench.experiment.stage import Stage
from ssbench.method.registry import import_one
from ssbench.pipeline.resume import ResumePoints
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.interrupt import SAVE_EVERY, STOP, Ended, Stopped


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


ASK, END = signal.SIGTERM, signal.SIGUSR1
"""The first ends a worker after the current epoch, the second at once. The first may come more than
once: who preempts a job sends it to all processes."""


def work(setup: Setup, pipe: Connection) -> None:
    """Run every stage from the pipe, until the other end closes it."""
    serve(pipe, setup.threads, lambda: partial(carry_out, open_runner(setup, pipe), pipe))


def serve(
    pipe: Connection, threads: int, begin: Callable[[], Callable[[Stage], object | None]]
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
        _say(pipe, failure.message())
    except (EOFError, ConnectionError):
        return  # the parent is gone: nobody needs the rest
    finally:
        signal.signal(END, signal.SIG_DFL)  # do not disturb Python's own shutdown


def _end(*_: object) -> None:
    """End the process, but run its cleanup."""
    raise Ended(1)


def _answer(pipe: Connection, answer: Callable[[Stage], object | None]) -> None:
    while True:
        message = answer(pipe.recv())
        if message is not None:
            with STOP.deferred():
                pipe.send(message)


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
        import_method(setup)

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


def import_method(setup: Setup) -> None:
    """Import the method that does not ship with ssbench.

    Raises:
        StageFailedError: the import fails.
    """
    try:
        import_one(setup.method_module, setup.method_files)
    except BadInputError as error:
        raise StageFailedError(str(error), {}) from error


def carry_out(
    runner: StageRunner,
    pipe: Connection,
    stage: Stage,
    failed: Callable[[StageFailedError], Failed] = StageFailedError.message,
) -> Message:
    """Run and save a stage, sending every epoch; ``failed`` makes the message of a failure."""
    gone: list[BrokenPipeError] = []

    def send(message: Message) -> None:
        try:
            with STOP.deferred():
                pipe.send(message)
        except BrokenPipeError as error:
            gone.append(error)
            raise

    message = run_stage(runner, stage, send, failed)
    if gone:
        raise gone[0]
    return message
