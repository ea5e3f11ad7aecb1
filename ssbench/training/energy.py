"""The energy that a device took, where its counter can be read.

>>> with metered(torch.device("cpu")) as meter:
...     train()
>>> meter.joules
412.7

An NVIDIA GPU counts by itself (NVML, through nvidia-ml-py), the packages of a CPU through Linux'
powercap. Both count all that runs on the device, not this process alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Where Linux has its energy counters."""
INTERVAL = 60.0
"""Seconds between two readings: a CPU's counter begins anew after ten minutes at the least."""


@dataclass
class Counter:
    """A counter of joules that only rises, but begins at 0 again where its range ends.

    Attributes:
        read: returns its value; an OSError where it cannot be read.
        span: its range; None for one that does not begin anew.
    """

    read: Callable[[], float]
    span: float | None = None
    used: float = 0.0
    _last: float | None = field(default=None, repr=False)

    def sample(self) -> None:
        """Add what was used since the last sample, over at most one end of the range."""
        now = self.read()
        more = 0.0 if self._last is None else now - self._last
        if more < 0:
            more = now if self.span is None else more + self.span
        self.used += more
        self._last = now


@dataclass
class Meter:
    """``joules`` is what the device took; None until the end, or where it cannot be read."""

    joules: float | None = None


@contextmanager
def metered(device: torch.device, jointly: int = 1) -> Iterator[Meter]:
    """Measure the energy that a device takes while the block runs.

    ``jointly``: so many GPUs work at it, the first ones of this machine.
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
    """Return the counters of all packages of the CPU; none where there is none.

    Args:
        powercap: holds a folder ``intel-rapl:N`` for each, AMD's too, with ``name``, ``energy_uj``
            and ``max_energy_range_uj``. Parts of a package (``intel-rapl:0:1``) are left out, as
            they are in it, and so is the whole platform.
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
    """The counters of all GPUs at work; none where one has none."""
    all_ = [torch.device("cuda", rank) for rank in range(jointly)] if jointly > 1 else [device]
    found = [_gpu(each) for each in all_]
    return [counter for counters in found for counter in counters] if all(found) else []


def _gpu(device: torch.device) -> list[Counter]:
    """The counter of one GPU, since its driver was loaded."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        # Its number here may be another one than NVML's: some GPUs may be hidden from torch.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return []

    def read() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:  # GPUs before Volta have no such counter
            raise OSError(str(error)) from error

    return [Counter(read)]


def _sample(counters: list[Counter]) -> bool:
    """Sample all counters; say whether there are some and all could be read."""
    try:
        for counter in counters:
            counter.sample()
    except (OSError, ValueError):
        return False
    return bool(counters)
