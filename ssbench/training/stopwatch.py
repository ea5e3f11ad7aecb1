"""Time pieces of work on a device and add them up, without waiting in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class Stopwatch:
    """Times calls, on a GPU by the GPU's clock, as calls return before the work is done.

    Args:
        device: the one that does the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = 0.0
        self._open: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def time(self, call: Callable[[], T]) -> T:
        """Return the result of a call, and record its time."""
        if self._on_gpu:
            return self._time_on_gpu(call)
        began = time.perf_counter()
        found = call()
        self._seconds += time.perf_counter() - began
        return found

    def _time_on_gpu(self, call: Callable[[], T]) -> T:
        began, ended = _moment(), _moment()
        began.record()
        found = call()
        ended.record()
        self._open.append((began, ended))
        return found

    def settle(self) -> None:
        """Add up the times, and free the GPU's events."""
        if self._open:
            self._open[-1][1].synchronize()
            self._seconds += sum(began.elapsed_time(ended) for began, ended in self._open) / 1000
            self._open.clear()

    @property
    def seconds(self) -> float:
        """Return all seconds so far; on a GPU, waits for the last call."""
        self.settle()
        return self._seconds

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._seconds = value
        self._open.clear()


def _moment() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
