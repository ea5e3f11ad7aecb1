"""The device of a run, and its description in a record."""

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

from ssbench import __version__
from ssbench.errors import BadInputError
from ssbench.paths import checkout

LIBRARIES = ("torch", "torchvision", "torch-pruning", "fvcore", "numpy")


def resolve(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into an existing device.

    Raises:
        BadInputError: the machine has no such CUDA device, or the name is unknown.
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
    """Make a GPU this process' current device.

    Events, pinned memory and libraries use the current device, not that of some tensor.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def clear(device: torch.device) -> None:
    """On a GPU, free what an earlier stage left, and start to measure peak memory.

    Copies of networks refer to themselves, so only the garbage collector finds them. Memory that
    torch caches is lost to other processes that share the GPU.
    """
    if device.type == "cuda":
        gc.collect()
        clear_cache(device)
        torch.cuda.reset_peak_memory_stats(device)


def clear_cache(device: torch.device) -> None:
    """Return cached GPU memory that torch no longer uses."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_lost(device: torch.device) -> bool:
    """Whether a GPU no longer answers this process.

    After an illegal access or a hardware failure it refuses every call of the process; another
    process can go on.
    """
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except RuntimeError:
            return True
    return False


def versions() -> dict[str, str]:
    """Return the versions of ssbench and of the libraries that results depend on."""
    return {"ssbench": __version__, **{name: version(name) for name in LIBRARIES}}


def describe(device: torch.device) -> dict[str, Any]:
    """Name the hardware and the versions behind a measurement."""
    return {
        "device": device.type,
        "device_name": name(device),
        "threads": torch.get_num_threads(),
        "versions": {**versions(), "python": platform.python_version()},
        "commit": _commit(),
    }


def peak_memory(device: torch.device) -> int:
    """Return peak memory in bytes: torch's on the GPU, else this process' resident size."""
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
    """Return the commit of the checkout that ssbench runs from; None for an installed wheel."""
    root = checkout()
    if root is None:
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        asked = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return asked.stdout.strip() or None
