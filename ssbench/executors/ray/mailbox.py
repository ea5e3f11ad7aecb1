"""How a task on another machine tells of its epochs, without ever waiting to be heard.

A task posts letters, not more often than every `PAUSE` seconds; the driver collects them. A letter
that is lost, or late, costs the display a moment and nothing else: a task gives all of its epochs
once more when it is finished.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ssbench.training.loop import Epoch

PAUSE = 0.5
"""Seconds between two letters of a task, and the least between two collections, a fifth of it."""


@dataclass(frozen=True)
class ProgressMessage:
    """What a stage tells: that it has begun (``epochs`` is empty), or of its newest epochs."""

    stage: str
    epochs: tuple[Epoch, ...] = ()


class Mailbox:
    """Keeps letters until they are collected; lives in the cluster, as an actor."""

    def __init__(self) -> None:
        self._letters: list[ProgressMessage] = []
        self._arrived = asyncio.Event()

    async def post(self, letter: ProgressMessage) -> None:
        """Leave a letter."""
        self._letters.append(letter)
        self._arrived.set()

    async def collect(self) -> list[ProgressMessage]:
        """Wait for a letter, and take all that are there a moment later."""
        await self._arrived.wait()
        await asyncio.sleep(PAUSE / 5)
        letters, self._letters = self._letters, []
        self._arrived.clear()
        return letters


@dataclass
class ProgressReporter:
    """A `Listener` that posts what it hears, throttled, and keeps all of it.

    Attributes:
        stage: the id of the stage that it tells of.
        post: leaves a letter, and returns at once.
        epochs: every epoch so far.
    """

    stage: str
    post: Callable[[ProgressMessage], object]
    epochs: list[Epoch] = field(default_factory=list)
    _told: int = 0
    _last: float = 0.0

    def began(self) -> None:
        """Tell that the stage begins."""
        self.post(ProgressMessage(self.stage))

    def __call__(self, epoch: Epoch) -> None:
        """Hear of a finished epoch."""
        self.epochs.append(epoch)
        if time.monotonic() - self._last >= PAUSE:
            self._last = time.monotonic()
            self.post(ProgressMessage(self.stage, tuple(self.epochs[self._told :])))
            self._told = len(self.epochs)
