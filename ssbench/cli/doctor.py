"""`ssbench doctor`: versions, devices, packages and folders, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssbench import __version__
from ssbench.cli.dependencies import Needed, installed, needed
from ssbench.cli.outputs import DoctorOutput, FolderFacts, PackageFacts
from ssbench.data.download import data_root
from ssbench.paths import checkout

LITTLE = 2 * 2**30
"""Bytes of free disk below which a run may not end."""


def examine(results: Path) -> DoctorOutput:
    """Look at everything that ssbench needs; works also where packages are missing.

    Args:
        results: the folder of records, whose cache is looked at too.
    """
    found = needed()
    devices, problems = _devices()
    missing = [each for each in found if not each.extra and each.version is None]
    problems = [f"{each.name} is missing: {each.remedy}" for each in missing] + problems
    folders = [_folder(what, path) for what, path in _places(results)]
    problems += [
        f"{each.what}: {each.path} is not writable" for each in folders if not each.writable
    ]
    free = shutil.disk_usage(_existing(results)).free
    if free < LITTLE:
        problems.append(f"{results.absolute()}: only {_size(free)} of disk are free")
    if not found:
        problems.append("the package ssbench is not installed, only copied: no list of packages")
    extras: dict[str, list[PackageFacts]] = {}
    for each in found:
        if each.extra:
            extras.setdefault(each.extra, []).append(_package(each))
    return DoctorOutput(
        versions=_versions(),
        devices=devices,
        packages=[_package(each) for each in found if not each.extra],
        extras=extras,
        folders=folders,
        problems=problems,
    )


def _versions() -> dict[str, str]:
    where = checkout()
    return {
        "ssbench": f"{__version__} ({f'checkout {where}' if where else Path(__file__).parents[1]})",
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        **{name: installed(name) or "missing" for name in ("torch", "torchvision")},
    }


def _devices() -> tuple[list[str], list[str]]:
    """Return the devices in words, and what keeps torch from using them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [f"cpu: {cores} cores, {platform.machine()}"]
    try:
        torch = import_module("torch")
    except ImportError:
        return found, []
    except Exception as error:  # a broken library raises anything
        return found, [f"torch cannot be imported: {type(error).__name__}: {error}"]
    found[0] += f", torch uses {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        its = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index}: {its.name}, {_size(its.total_memory)}")
    if shutil.which("nvidia-smi") and len(found) == 1:
        return found, [
            f"this machine has an NVIDIA driver, but torch {torch.__version__} finds no GPU; "
            "install a build of torch for its CUDA version"
        ]
    return found, []


def _package(each: Needed) -> PackageFacts:
    return PackageFacts(
        name=each.name,
        requirement=each.requirement,
        version=each.version,
        remedy=None if each.version else each.remedy,
    )


def _places(results: Path) -> Iterator[tuple[str, Path]]:
    home = os.environ.get("TORCH_HOME")
    torch = Path(home) if home else Path.home() / ".cache" / "torch"
    yield "data sets", data_root(None)
    yield "published weights", torch / "hub" / "checkpoints"
    yield "records and reports", results
    yield "checkpoints", results / ".cache"


def _folder(what: str, path: Path) -> FolderFacts:
    there = path.is_dir()
    size = sum(_sizes(path)) if there else None
    writable = os.access(_existing(path), os.W_OK)
    return FolderFacts(what=what, path=str(path.absolute()), bytes=size, writable=writable)


def _sizes(folder: Path) -> Iterator[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink() and path.exists():
                yield path.stat().st_size


def _existing(path: Path) -> Path:
    """Return the folder itself, or the nearest one above that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def show(found: DoctorOutput, console: Console) -> None:
    """Print what was found, the problems last."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.versions.items():
        table.add_row(name, value)
    for device in found.devices:
        table.add_row("device", device)
    table.add_row("packages", ", ".join(f"{p.name} {p.version or '-'}" for p in found.packages))
    for extra, packages in found.extras.items():
        missing = [package for package in packages if package.version is None]
        state = f"not installed: {missing[0].remedy}" if missing else ", ".join(
            f"{package.name} {package.version}" for package in packages
        )  # fmt: skip
        table.add_row(f"extra {extra}", state)
    for folder in found.folders:
        size = "does not exist yet" if folder.bytes is None else _size(folder.bytes)
        table.add_row(folder.what, f"{folder.path} ({size})")
    console.print(table, markup=False, highlight=False)
    for problem in found.problems:
        console.print(f"missing: {problem}", style="red", markup=False, soft_wrap=True)
    if not found.problems:
        console.print("nothing is missing")
