"""A process that carries out stages, one after the other, as it is told through a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread

import torch

from ssbench.data import open_dataset
from ssbench.errors import BadInputError
from ssbench.executors.hand import Hand, StageFailedError
from ssbench.locks import BusyError
from ssbench.partial import Partials
from ssbench.record import Record
from ssbench.registry import discover
from ssbench.stage import Stage
from ssbench.stopping import SAVE_EVERY, STOP, Stopped
from ssbench.storage import Store
from ssbench.training import Epoch
from ssbench.workbench import Bench


@dataclass(frozen=True)
class Setup:
    """What a worker needs to know before its first stage.

    Attributes:
        threads: so many may torch use in this process.
        save_every: seconds between two saves of a training.
    """

    dataset: str
    data_root: Path
    device: str
    method_files: tuple[Path, ...]
    cache: Path | str
    threads: int
    save_every: float = SAVE_EVERY


@dataclass(frozen=True)
class Done:
    """The stage is in the store."""


@dataclass(frozen=True)
class Failed:
    """The stage could not be finished; ``facts`` are further entries of the record."""

    reason: str
    facts: Record = field(default_factory=dict)


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


Message = Epoch | Done | Failed | Busy | Warned | Halted | Refused
ASK, END = signal.SIGTERM, signal.SIGUSR1
"""Ends a worker after the epoch that it is at, or at once. The first one may come more than once:
whoever preempts a job sends it to all processes."""


def work(setup: Setup, pipe: Connection) -> None:
    """Carry out every stage that comes through the pipe, until it is closed at the other end."""
    signal.signal(END, lambda *_: sys.exit(1))  # in good order, with nothing left over
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(setup.threads)
    try:
        with STOP.signals([ASK], insists=False):
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [ASK])  # it was kept until here
                _work(setup, pipe)
            except Stopped as stopped:
                _say(pipe, Halted(stopped.saved))
    except BadInputError as error:
        _say(pipe, Refused(str(error)))
    except (EOFError, ConnectionError):
        return  # the process that asked is gone; what is unfinished is of no use
    finally:
        signal.signal(END, signal.SIG_DFL)  # python's own clearing up is not disturbed


def _work(setup: Setup, pipe: Connection) -> None:
    hand = _hand(setup, pipe)
    while True:
        stage: Stage = pipe.recv()
        said = _carry_out(hand, stage, pipe)
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


def _hand(setup: Setup, pipe: Connection) -> Hand:
    discover(setup.method_files)  # stages name classes that only their files define
    dataset = open_dataset(setup.dataset, setup.data_root, "dataset")
    device = torch.device(setup.device)
    partials = Partials(
        Store(setup.cache, "partial"),
        device.type,
        STOP,
        setup.save_every,
        lambda text: pipe.send(Warned(text)),
    )
    return Hand(Bench(dataset, device), Store(setup.cache), partials)


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
        return Failed(str(failure), failure.facts)
    return Done()
