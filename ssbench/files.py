"""Folders and files on the disk: written in whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ssbench.errors import BadInputError


def make_folder(folder: Path, option: str) -> None:
    """Make a folder and see that it can be written.

    Raises:
        BadInputError: names the folder and the option that chooses another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInputError(
            f"{folder}: cannot be written ({error.strerror}); choose another with {option}"
        ) from error


def write(path: Path, text: str) -> None:
    """Replace a file's content in whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's 0600 would hide records from colleagues
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
