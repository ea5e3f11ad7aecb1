"""Best-effort progress messages from Ray tasks to the driver.

A task posts a message at most every `PAUSE` seconds; the driver collects them. A lost or late
message only delays the display: a finished task returns all of its epochs again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ssbench.training.loop import Epoch

PAUSE = 0.5
"""Seconds between two messages of a task; a collection waits a fifth of it for more messages."""


@dataclass(frozen=True)
class ProgressMessage:
    """Reports that a stage has begun (``epochs`` is empty), or its newest epochs."""

    stage: str
    epochs: tuple[Epoch, ...] = ()


class Mailbox:
    """Keeps messages until the driver collects them; an actor in the cluster."""

    def __init__(self) -> None:
        self._messages: list[ProgressMessage] = []
        self._arrived = asyncio.Event()

    async def post(self, message: ProgressMessage) -> None:
        """Add a message."""
        self._messages.append(message)
        self._arrived.set()

    async def collect(self) -> list[ProgressMessage]:
        """Wait for a message, and return all that have arrived a moment later."""
        await self._arrived.wait()
        await asyncio.sleep(PAUSE / 5)
        messages, self._messages = self._messages, []
        self._arrived.clear()
        return messages


@dataclass
class ProgressReporter:
    """A `Listener` that posts epochs, throttled, and keeps all of them.

    Attributes:
        stage: the id of the stage.
        post: sends a message, and returns at once.
        epochs: every epoch so far.
    """

    stage: str
    post: Callable[[ProgressMessage], object]
    epochs: list[Epoch] = field(default_factory=list)
    _told: int = 0
    _last: float = 0.0

    def began(self) -> None:
        """Report that the stage begins."""
        self.post(ProgressMessage(self.stage))

    def __call__(self, epoch: Epoch) -> None:
        """Note a finished epoch."""
        self.epochs.append(epoch)
        if time.monotonic() - self._last >= PAUSE:
            self._last = time.monotonic()
            self.post(ProgressMessage(self.stage, tuple(self.epochs[self._told :])))
            self._told = len(self.epochs)
