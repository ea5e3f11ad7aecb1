"""What a user has to know of a folder of images before a training, each in one line."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from ssbench.data.dataset import DataSet
from ssbench.data.image_folder import Files, read_file
from ssbench.data.picture import shown


def remarks(dataset: DataSet) -> list[str]:
    """Say which files are left out or of which only a part is used, and which are there twice.

    Raises:
        BadInputError: an image cannot be read; names it.
    """
    train, validation, test = dataset.train, dataset.validation, dataset.test
    if not (isinstance(train, Files) and isinstance(validation, Files) and isinstance(test, Files)):
        return []
    frames = [p for s in (train, validation, test) for p, seen in s.found.items() if seen.frames]
    said = list(dataset.remarks)
    if frames:
        said.append(
            f"{dataset.name}: the first frame or page counts of {len(frames)} images that have "
            f"several, {shown(Path(frames[0]))} for one"
        )
    pairs = [(test, "test", train, "training"), (test, "test", validation, "validation"),
             (validation, "validation", train, "training")]  # fmt: skip
    for first, name, second, other in pairs:
        same = doubles(first, second)
        if same:
            one, two = (shown(Path(path)) for path in same[0])
            said.append(
                f"{dataset.name}: {len(same)} of {len(first)} {name} images are {other} images "
                f"too, {one} is {two}: remove them from one of the two, or errors are too small"
            )
    return said


def print_remarks(dataset: DataSet, console: Console) -> None:
    """Print what a user has to know, a line each.

    Raises:
        BadInputError: an image cannot be read; names it.
    """
    for remark in remarks(dataset):
        console.print(remark, style="yellow", markup=False, highlight=False, soft_wrap=True)


def doubles(first: Files, second: Files) -> list[tuple[str, str]]:
    """The files of a split that another one has too, byte for byte; none of large splits."""
    if not (first.is_small and second.is_small):
        return []
    theirs: dict[int, list[str]] = defaultdict(list)
    for path, size in zip(second.paths, second.sizes, strict=True):
        theirs[size].append(path)
    found = []
    hashes: dict[int, dict[bytes, str]] = {}
    for path, size in zip(first.paths, first.sizes, strict=True):
        if size not in theirs:
            continue
        if size not in hashes:
            hashes[size] = {_hash(second.root / other): other for other in theirs[size]}
        other = hashes[size].get(_hash(first.root / path))
        if other is not None:
            found.append((path, other))
    return found


def _hash(path: Path) -> bytes:
    return hashlib.sha256(read_file(path)).digest()
