"""Time pieces of work on a device and add them up, without waiting in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
Pair = tuple[torch.cuda.Event, torch.cuda.Event]


class Stopwatch:
    """Times calls, on a GPU by the GPU's clock, as calls return before the work is done.

    A call in a recorded step (`ssbench.training.graphs`) is timed once between two waits, and that
    time counts for each replay since.

    Args:
        device: the one that does the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds = 0.0
        self._open: list[Pair] = []
        self._recorded: Pair | None = None
        self._replays = 0

    def time(self, call: Callable[[], T]) -> T:
        """Return the result of a call, and record its time."""
        if self._on_gpu:
            return self._time_on_gpu(call)
        began = time.perf_counter()
        found = call()
        self._seconds += time.perf_counter() - began
        return found

    def _time_on_gpu(self, call: Callable[[], T]) -> T:
        recording = torch.cuda.is_current_stream_capturing()
        began, ended = _moment(external=recording), _moment(external=recording)
        began.record()
        found = call()
        ended.record()
        if recording:
            self._recorded = began, ended
        else:
            self._open.append((began, ended))
        return found

    def replayed(self) -> None:
        """Count a replay of the recorded call."""
        self._replays += 1

    def forget(self) -> None:
        """Add up the times, and forget the recorded call."""
        self.settle()
        self._recorded = None

    def settle(self) -> None:
        """Add up the times, and free the GPU's events."""
        if self._open:
            self._open[-1][1].synchronize()
            self._seconds += sum(began.elapsed_time(ended) for began, ended in self._open) / 1000
            self._open.clear()
        if self._recorded and self._replays:
            began, ended = self._recorded
            ended.synchronize()
            self._seconds += self._replays * began.elapsed_time(ended) / 1000
            self._replays = 0

    @property
    def seconds(self) -> float:
        """Return all seconds so far; on a GPU, waits for the last call."""
        self.settle()
        return self._seconds

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._seconds = value
        self._open.clear()
        self._replays = 0


def _moment(*, external: bool) -> torch.cuda.Event:
    if external:  # an event that a recorded step sets anew at each replay
        return torch.cuda.Event(enable_timing=True, external=True)  # type: ignore[no-untyped-call]
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
