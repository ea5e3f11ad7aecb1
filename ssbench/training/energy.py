"""The energy that a device used, if its counter is readable.

>>> with metered(torch.device("cpu")) as meter:
...     train()
>>> meter.joules
412.7

NVIDIA GPUs count through NVML (nvidia-ml-py), CPU packages through Linux' powercap. Both count
everything that runs on the device, not this process alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""The folder of Linux' energy counters."""
INTERVAL = 60.0
"""Seconds between two readings: a CPU's counter wraps after ten minutes at the earliest."""


@dataclass
class Counter:
    """A counter of joules that only rises, and wraps to 0 at the end of its range.

    Attributes:
        read: returns its value, or raises OSError.
        span: its range; None if it never wraps.
    """

    read: Callable[[], float]
    span: float | None = None
    used: float = 0.0
    _last: float | None = field(default=None, repr=False)

    def sample(self) -> None:
        """Add the energy since the last sample, with at most one wrap in between."""
        now = self.read()
        more = 0.0 if self._last is None else now - self._last
        if more < 0:
            more = now if self.span is None else more + self.span
        self.used += more
        self._last = now


@dataclass
class Meter:
    """``joules`` is the device's energy; None until the end, or if it is not readable."""

    joules: float | None = None


@contextmanager
def metered(device: torch.device, jointly: int = 1) -> Iterator[Meter]:
    """Measure the energy of a device while the block runs.

    ``jointly``: number of GPUs that train together, the first ones of this machine.
    """
    meter = Meter()
    counters = _gpus(device, jointly) if device.type == "cuda" else packages()
    if not _sample(counters):
        yield meter
        return
    ended, lost = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            if not _sample(counters):
                lost.set()
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield meter
    finally:
        ended.set()
        watching.join()
    if not lost.is_set() and _sample(counters):
        meter.joules = sum(counter.used for counter in counters)


def packages(powercap: Path = POWERCAP) -> list[Counter]:
    """Return the counters of all packages of the CPU; empty if it has none.

    Args:
        powercap: holds a folder ``intel-rapl:N`` for each, AMD's too, with ``name``, ``energy_uj``
            and ``max_energy_range_uj``. Leaves out parts of a package (``intel-rapl:0:1``), which
            the package includes, and the whole platform.
    """
    zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    try:
        return [
            Counter(_file(zone / "energy_uj"), _file(zone / "max_energy_range_uj")())
            for zone in zones
            if (zone / "name").read_text().startswith("package")
        ]
    except (OSError, ValueError):
        return []


def _file(path: Path) -> Callable[[], float]:
    """Read microjoules as joules."""
    return lambda: int(path.read_text()) / 1e6


def _gpus(device: torch.device, jointly: int) -> list[Counter]:
    """Return the counters of all GPUs at work; empty if one lacks a counter."""
    all_ = [torch.device("cuda", rank) for rank in range(jointly)] if jointly > 1 else [device]
    found = [_gpu(each) for each in all_]
    return [counter for counters in found for counter in counters] if all(found) else []


def _gpu(device: torch.device) -> list[Counter]:
    """Return the counter of one GPU, in joules since its driver was loaded."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        # Its index may differ from NVML's: some GPUs may be hidden from torch.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return []

    def read() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:  # GPUs older than Volta have no such counter
            raise OSError(str(error)) from error

    return [Counter(read)]


def _sample(counters: list[Counter]) -> bool:
    """Sample all counters; return whether there are any and all were readable."""
    try:
        for counter in counters:
            counter.sample()
    except (OSError, ValueError):
        return False
    return bool(counters)
