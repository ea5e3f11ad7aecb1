"""Where the files are that ship with ssbench and that people edit."""

from __future__ import annotations

from pathlib import Path

from ssbench.data.registry import FOLDER


def bench_folder() -> Path:
    """The folder of the experiments and published figures, in a checkout or a wheel."""
    inside = Path(__file__).parent / "bench"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "bench"


def in_folder(name: str) -> bool:
    """Whether the images of a data set lie in a folder of their own, and are photographs."""
    return name == "imagenet" or name.startswith(FOLDER)


def method_folder() -> Path:
    """The folder of the methods that ship with ssbench, in a checkout or a wheel."""
    inside = Path(__file__).parent / "methods"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "methods"
