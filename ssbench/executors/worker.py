"""A process that carries out stages, one after the other, as it is told through a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread

import torch

from ssbench.data import open_dataset
from ssbench.errors import BadInputError
from ssbench.executors.hand import Hand, StageFailedError
from ssbench.registry import discover
from ssbench.spread import Alone
from ssbench.stage import Stage
from ssbench.storage import Store
from ssbench.training import Epoch
from ssbench.workbench import Bench


@dataclass(frozen=True)
class Setup:
    """What a worker needs to know before its first stage.

    Attributes:
        threads: so many may torch use in this process.
    """

    dataset: str
    data_root: Path
    device: str
    method_files: tuple[Path, ...]
    cache: Path
    threads: int


@dataclass(frozen=True)
class Done:
    """The stage is in the store."""


@dataclass(frozen=True)
class Failed:
    """The stage could not be finished."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """Nothing can go on: the input is at fault."""

    message: str


Message = Epoch | Done | Failed | Refused


def work(setup: Setup, pipe: Connection) -> None:
    """Carry out every stage that comes through the pipe, until it is closed at the other end."""
    serve(pipe, setup.threads, lambda: partial(carry_out, open_hand(setup), pipe))


def serve(
    pipe: Connection, threads: int, begin: Callable[[], Callable[[Stage], Message | None]]
) -> None:
    """Answer every stage that comes through the pipe, until it is closed at the other end.

    Args:
        pipe: to the process that asks.
        threads: so many may torch use.
        begin: makes what answers; it answers None where nothing is to be said.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in good order, with nothing left over
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        answer = begin()
        while True:
            said = answer(pipe.recv())
            if said is not None:
                pipe.send(said)
    except BadInputError as error:
        pipe.send(Refused(str(error)))
    except (EOFError, ConnectionError):
        return  # the process that asked is gone; what is unfinished is of no use
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # python's own clearing up is not disturbed


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, whatever is being trained.

    Without it a killed run would leave processes behind that work for nobody. The store is written
    in whole or not at all, so that it may end at any moment.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def open_hand(setup: Setup, spread: Alone | None = None) -> Hand:
    """Open the data set on the device; ``spread`` knows of those that train jointly."""
    discover(setup.method_files)  # stages name classes that only their files define
    dataset = open_dataset(setup.dataset, setup.data_root, "dataset")
    return Hand(Bench(dataset, torch.device(setup.device), spread), Store(setup.cache))


def failed(failure: StageFailedError) -> Failed:
    """Say why a stage could not be finished."""
    return Failed(str(failure))


def carry_out(
    hand: Hand, pipe: Connection, stage: Stage, tell: Callable[[StageFailedError], Failed] = failed
) -> Message:
    """Carry out and save a stage, telling of every epoch; ``tell`` says why it failed."""
    gone: list[BrokenPipeError] = []

    def listen(epoch: Epoch) -> None:
        try:
            pipe.send(epoch)
        except BrokenPipeError as error:
            gone.append(error)
            raise

    try:
        hand.carry_out(stage, listen)
    except StageFailedError as failure:
        if gone:
            raise gone[0] from failure
        return tell(failure)
    return Done()
