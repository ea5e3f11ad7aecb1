"""What a user should know about a folder of images before training, each in one line."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from ssbench.data.dataset import DataSet
from ssbench.data.image_folder import Files, read_file
from ssbench.data.picture import shown


def remarks(dataset: DataSet) -> list[str]:
    """Describe ignored files, files of which only a part counts, and duplicates.

    Raises:
        BadInputError: an image cannot be read; names it.
    """
    train, validation, test = dataset.train, dataset.validation, dataset.test
    if not (isinstance(train, Files) and isinstance(validation, Files) and isinstance(test, Files)):
        return []
    frames = [p for s in (train, validation, test) for p, seen in s.found.items() if seen.frames]
    lines = list(dataset.remarks)
    if frames:
        lines.append(
            f"{dataset.name}: only the first frame or page counts of {len(frames)} images with "
            f"several, for example {shown(Path(frames[0]))}"
        )
    pairs = [(test, "test", train, "training"), (test, "test", validation, "validation"),
             (validation, "validation", train, "training")]  # fmt: skip
    for first, name, second, other in pairs:
        same = doubles(first, second)
        if same:
            one, two = (shown(Path(path)) for path in same[0])
            lines.append(
                f"{dataset.name}: {len(same)} of {len(first)} {name} images are also {other} "
                f"images, {one} is {two}: remove them from one split, or errors are too small"
            )
    return lines


def print_remarks(dataset: DataSet, console: Console) -> None:
    """Print the remarks, one per line.

    Raises:
        BadInputError: an image cannot be read; names it.
    """
    for remark in remarks(dataset):
        console.print(remark, style="yellow", markup=False, highlight=False, soft_wrap=True)


def doubles(first: Files, second: Files) -> list[tuple[str, str]]:
    """Return the files that two splits share byte for byte; skips large splits."""
    if not (first.is_small and second.is_small):
        return []
    by_size: dict[int, list[str]] = defaultdict(list)
    for path, size in zip(second.paths, second.sizes, strict=True):
        by_size[size].append(path)
    pairs = []
    hashes: dict[int, dict[bytes, str]] = {}
    for path, size in zip(first.paths, first.sizes, strict=True):
        if size not in by_size:
            continue
        if size not in hashes:
            hashes[size] = {_hash(second.root / other): other for other in by_size[size]}
        other = hashes[size].get(_hash(first.root / path))
        if other is not None:
            pairs.append((path, other))
    return pairs


def _hash(path: Path) -> bytes:
    return hashlib.sha256(read_file(path)).digest()
