"""Where the files are that ship with ssbench and that people edit."""

from __future__ import annotations

from pathlib import Path


def bench_folder() -> Path:
    """The folder of the experiments and published figures, in a checkout or a wheel."""
    inside = Path(__file__).parent / "bench"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "bench"


FOLDER = "imagefolder:"
"""Begins the name of a data set that is a folder of images; its path follows."""


def dataset_name(name: str) -> str:
    """The name of a data set in records: of a folder's path the last part only.

    Where the folder lies says nothing about the images, which have a fingerprint.
    """
    return FOLDER + Path(name.removeprefix(FOLDER)).name if name.startswith(FOLDER) else name
