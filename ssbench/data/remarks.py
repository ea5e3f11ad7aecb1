"""What a user should know about images of one's own before training, each in one line."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ssbench.data.dataset import DataSet, Split
from ssbench.data.image_folder import Files, read_file
from ssbench.data.picture import shown

SPLITS = ("train", "validation", "test")
SAID = {"train": "training", "validation": "validation", "test": "test"}
"""How a split is called in a sentence."""
PAIRS = (("test", "train"), ("test", "validation"), ("validation", "train"))
Doubles = list[tuple[str, str]]
"""Names of equal images of two splits."""


def remarks(dataset: DataSet) -> list[str]:
    """Describe ignored files, files of which only a part counts, and duplicates.

    Raises:
        BadInputError: an image cannot be read; names it.
    """
    files = dataset.origin or tuple(getattr(dataset, split) for split in SPLITS)
    frames = [p for f in files if isinstance(f, Files) for p, s in f.found.items() if s.frames]
    lines = list(dataset.remarks)
    if frames:
        lines.append(
            f"{dataset.name}: only the first frame or page counts of {len(frames)} images with "
            f"several, for example {shown(Path(frames[0]))}"
        )
    for (first, second), same in all_doubles(dataset).items():
        one, two = (shown(Path(path)) for path in same[0])
        lines.append(
            f"{dataset.name}: {len(same)} of {len(getattr(dataset, first))} {SAID[first]} images "
            f"are also {SAID[second]} images, {one} is {two}: remove them from one split, or "
            "errors are too small"
        )
    return lines


def print_remarks(dataset: DataSet, console: Console) -> None:
    """Print the remarks, one per line.

    Raises:
        BadInputError: an image cannot be read; names it.
    """
    for remark in remarks(dataset):
        console.print(remark, style="yellow", markup=False, highlight=False, soft_wrap=True)


def all_doubles(dataset: DataSet) -> dict[tuple[str, str], Doubles]:
    """Return the equal images of every two splits that have some; none of sets ssbench knows.

    Compares pixels in memory, and files on disk byte for byte; skips large splits of files.
    """
    if "source" not in dataset.facts:
        return {}
    parts = {split: getattr(dataset, split) for split in SPLITS}
    found: dict[tuple[str, str], Doubles] = {}
    if all(isinstance(part, Files) for part in parts.values()):
        found = {(one, two): doubles(parts[one], parts[two]) for one, two in PAIRS}
    elif all(isinstance(part, Split) for part in parts.values()):
        origin = dict(zip(SPLITS, dataset.origin or (None, None, None), strict=True))
        hashes = {split: _hashes(parts[split], _names(origin[split])) for split in SPLITS}
        for one, two in PAIRS:
            there = dict(reversed(hashes[two]))  # the first of several equal ones
            found[one, two] = [(name, there[h]) for h, name in hashes[one] if h in there]
    return {pair: same for pair, same in found.items() if same}


def doubles(first: Files, second: Files) -> Doubles:
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


def _names(files: Files | None) -> Sequence[str] | None:
    return files.paths if files else None


def _hashes(split: Split, names: Sequence[str] | None) -> list[tuple[bytes, str]]:
    """Return a hash of the pixels and the name of each image."""
    rows = split.images.cpu().flatten(1).numpy()
    called = names or [f"image {number}" for number in range(len(rows))]
    hashes = (hashlib.sha256(row.data).digest() for row in rows)
    return list(zip(hashes, called, strict=True))
