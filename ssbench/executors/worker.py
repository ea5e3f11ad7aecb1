"""A process that carries out stages, one after the other, as it is told through a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread

import torch

from ssbench.data import open_dataset
from ssbench.errors import BadInputError
from ssbench.executors.hand import Hand, StageFailedError
from ssbench.locks import BusyError
from ssbench.registry import discover
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
    cache: Path | str
    threads: int


@dataclass(frozen=True)
class Done:
    """The stage is in the store."""


@dataclass(frozen=True)
class Failed:
    """The stage could not be finished."""

    reason: str


@dataclass(frozen=True)
class Busy:
    """Another process is at the stage, or at its parent."""

    holder: str


@dataclass(frozen=True)
class Told:
    """A file is damaged, and computed anew."""

    what: str


@dataclass(frozen=True)
class Refused:
    """Nothing can go on: the input is at fault."""

    message: str


Message = Epoch | Done | Failed | Busy | Told | Refused


def work(setup: Setup, pipe: Connection) -> None:
    """Carry out every stage that comes through the pipe, until it is closed at the other end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in good order, with nothing left over
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(setup.threads)
    try:
        hand = _hand(setup, lambda what: pipe.send(Told(what)))
        while True:
            stage: Stage = pipe.recv()
            pipe.send(_carry_out(hand, stage, pipe))
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


def _hand(setup: Setup, tell: Callable[[str], None]) -> Hand:
    discover(setup.method_files)  # stages name classes that only their files define
    dataset = open_dataset(setup.dataset, setup.data_root, "dataset")
    return Hand(Bench(dataset, torch.device(setup.device)), Store(setup.cache), tell)


def _carry_out(hand: Hand, stage: Stage, pipe: Connection) -> Message:
    gone: list[BrokenPipeError] = []

    def listen(epoch: Epoch) -> None:
        try:
            pipe.send(epoch)
        except BrokenPipeError as error:
            gone.append(error)
            raise

    try:
        hand.carry_out(stage, listen)
    except BusyError as busy:
        return Busy(busy.holder)
    except StageFailedError as failure:
        if gone:
            raise gone[0] from failure
        return Failed(str(failure))
    return Done()
