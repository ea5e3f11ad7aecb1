"""The sizes of all images of a folder, from their headers; kept like other findings."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL

from ssbench.data.image_folder import Files
from ssbench.data.picture import quiet, upright_size
from ssbench.data.survey import FOLDER, keep_text
from ssbench.errors import BadInputError

Sizes = Counter[tuple[int, int]]
"""The number of images by height and width, after the EXIF rotation."""


def all_sizes(parts: Sequence[Files]) -> Sizes:
    """Count the sizes of all images that can be read."""
    return sum((_sizes(files) for files in parts), Sizes())


def first_size(files: Files) -> tuple[int, int] | None:
    """Return height and width of the first image that can be read; None if there is none."""
    with quiet():
        sizes = (_size(files.root / path) for path in files.paths)
        return next(filter(None, sizes), None)


def spread(sizes: Mapping[tuple[int, int], int]) -> str:
    """Describe sizes in a few words: ``12 sizes from 28 x 30 to 64 x 64``."""
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    small, large = (f"{height} x {width}" for height, width in (by_area[0], by_area[-1]))
    return small if len(sizes) == 1 else f"{len(sizes)} sizes from {small} to {large}"


def _sizes(files: Files) -> Sizes:
    name = f"{files.key[:32]}-{PIL.__version__}-sizes.json"
    kept = files.keep / FOLDER / name if files.keep else None
    before = _read(kept) if kept else None
    if before is not None:
        return before
    with quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        every = pool.map(_size, [files.root / path for path in files.paths])
        found = Sizes(size for size in every if size)
    if kept:
        keep_text(kept, json.dumps([[*size, count] for size, count in found.items()]))
    return found


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return upright_size(path)
    except BadInputError:
        return None  # `ssbench.data.survey` names it


def _read(path: Path) -> Sizes | None:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return Sizes({(int(h), int(w)): int(count) for h, w, count in rows})
    except (OSError, ValueError, TypeError):
        return None
