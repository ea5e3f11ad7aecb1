"""A process that carries out stages, one after the other, as it is told through a pipe."""

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

from ssbench.data.registry import open_dataset
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
    """What a worker needs to know before its first stage.

    Attributes:
        threads: so many may torch use in this process.
        save_every: seconds between two saves of a training.
        method_module: of a method that does not ship with ssbench: one stage of it alone is carried
            out in this process, which holds the test images back from it; empty: stages of all
            methods that do.
    """

    dataset: str
    data_root: Path
    device: str
    method_files: tuple[Path, ...]
    cache: Path | str
    threads: int
    save_every: float = SAVE_EVERY
    method_module: str = ""


@dataclass(frozen=True)
class Began:
    """A stage is computed from here on; those that help with it may begin."""

    stage: Stage


@dataclass(frozen=True)
class Done:
    """The stage is in the store."""


@dataclass(frozen=True)
class Failed:
    """The stage could not be finished.

    Attributes:
        facts: further entries of the record.
        ends: whether the worker is of no more use, as it has lost its device.
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
    """The worker ends as it was asked to; ``saved`` is what it saved of its stage."""

    saved: tuple[str, ...]


@dataclass(frozen=True)
class Busy:
    """Another process is at the stage, or at its parent."""

    holder: str


@dataclass(frozen=True)
class Refused:
    """Nothing can go on: the input is at fault."""

    message: str


Message = Epoch | Began | Done | Failed | Busy | Warned | Halted | Refused
ASK, END = signal.SIGTERM, signal.SIGUSR1
"""Ends a worker after the epoch that it is at, or at once. The first one may come more than once:
whoever preempts a job sends it to all processes."""


def work(setup: Setup, pipe: Connection) -> None:
    """Carry out every stage that comes through the pipe, until it is closed at the other end."""
    serve(pipe, setup.threads, lambda: partial(carry_out, open_hand(setup, pipe), pipe))


def serve(
    pipe: Connection, threads: int, begin: Callable[[], Callable[[Stage], Message | None]]
) -> None:
    """Answer every stage that comes through the pipe, until it is closed at the other end.

    Args:
        pipe: to the process that asks.
        threads: so many may torch use.
        begin: makes what answers; it answers None where nothing is to be said.
    """
    signal.signal(END, _end)
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        with STOP.signals([ASK], insists=False):
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [ASK])  # it was kept until here
                _answer(pipe, begin())
            except Stopped as stopped:
                _say(pipe, Halted(stopped.saved))
    except BadInputError as error:
        _say(pipe, Refused(str(error)))
    except StageFailedError as failure:
        _say(pipe, failed(failure))
    except (EOFError, ConnectionError):
        return  # the process that asked is gone; what is unfinished is of no use
    finally:
        signal.signal(END, signal.SIG_DFL)  # python's own clearing up is not disturbed


def _end(*_: object) -> None:
    """End in good order, with nothing left over."""
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
    """End this process when the one that started it is gone, whatever is being trained.

    Without it a killed run would leave processes behind that work for nobody. The store is written
    in whole or not at all, so that it may end at any moment.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def open_hand(setup: Setup, pipe: Connection, spread: SingleProcess | None = None) -> StageRunner:
    """Open the data set on the device; ``spread`` knows of those that train jointly.

    Raises:
        BadInputError: the data set cannot be opened, or the store not written.
        StageFailedError: the method of another one's cannot be imported.
    """
    isolated = bool(setup.method_module)
    if isolated:
        dataset = open_without_test(setup.dataset, setup.data_root, setup.method_module)
    else:
        dataset = open_dataset(setup.dataset, setup.data_root)
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
    """Say why a stage could not be finished."""
    return Failed(str(failure), failure.facts, failure.lost)


def carry_out(
    hand: StageRunner,
    pipe: Connection,
    stage: Stage,
    tell: Callable[[StageFailedError], Failed] = failed,
) -> Message:
    """Carry out and save a stage, telling of every epoch; ``tell`` says why it failed."""
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
        hand.carry_out(stage, listen, begins)
    except BusyError as busy:
        return Busy(busy.holder)
    except StageFailedError as failure:
        if gone:
            raise gone[0] from failure
        return tell(failure)
    return Done()
