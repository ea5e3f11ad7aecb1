"""The device that a run uses, and what a record says of it."""

from __future__ import annotations

import gc
import os
import platform
import resource
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssbench.errors import BadInputError
from ssbench.paths import checkout

LIBRARIES = ("ssbench", "torch", "torchvision", "torch-pruning", "fvcore", "numpy")


def resolve(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that is there.

    Raises:
        BadInputError: CUDA is asked for and not there, or the name is none of these.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind != "cuda" or not (index.isdigit() or name == "cuda"):
        raise BadInputError(f"--device {name}: known: auto, cpu, cuda, cuda:N")
    if not available:
        raise BadInputError(
            f"--device {name}: this machine has no CUDA device that torch {torch.__version__} can "
            "use; choose --device cpu or auto"
        )
    count = torch.cuda.device_count()
    if index and int(index) >= count:
        raise BadInputError(f"--device {name}: this machine has cuda:0 to cuda:{count - 1}")
    return torch.device(name)


def use(device: torch.device) -> None:
    """Make a GPU the one that this process works on.

    Events, pinned memory and libraries take the current one, not the one of some tensor.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def clear(device: torch.device) -> None:
    """On a GPU, free what an earlier stage left, and begin to measure the peak of memory.

    Copies of networks refer to themselves, so that only the garbage collector finds them; and
    memory that torch keeps for itself is nobody else's, where processes share a GPU.
    """
    if device.type == "cuda":
        gc.collect()
        clear_cache(device)
        torch.cuda.reset_peak_memory_stats(device)


def clear_cache(device: torch.device) -> None:
    """Give back the GPU's memory that torch keeps, but nothing lies in any more."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_lost(device: torch.device) -> bool:
    """Whether a GPU answers no more.

    After an illegal access, or a failure of the hardware, it refuses all that the process asks of
    it; another process can go on.
    """
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except RuntimeError:
            return True
    return False


def describe(device: torch.device) -> dict[str, Any]:
    """Name the hardware and the versions that a measurement was made with."""
    versions = {name: version(name) for name in LIBRARIES}
    return {
        "device": device.type,
        "device_name": name(device),
        "threads": torch.get_num_threads(),
        "versions": {**versions, "python": platform.python_version()},
        "commit": _commit(),
    }


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that torch held on the GPU, or the most that this process ever held."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@cache
def name(device: torch.device) -> str:
    """The name of the hardware."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _commit() -> str | None:
    """The commit of the checkout that ssbench runs from; None where it is installed elsewhere."""
    root = checkout()
    if root is None:
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        asked = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return asked.stdout.strip() or None
