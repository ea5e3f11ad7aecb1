"""A synthetic set of coloured shapes, to try big networks without a download; not for results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssbench.data.dataset import Augmentation, DataSet, Split

SIZE, TRAIN, VALIDATION, TEST = 32, 4000, 500, 1000
Grid = NDArray[np.float64]
Shape = Callable[[Grid, Grid], NDArray[np.bool_]]
_SHAPES: tuple[Shape, ...] = (
    lambda x, y: x**2 + y**2 < 1,  # disc
    lambda x, y: (x**2 + y**2 < 1) & (x**2 + y**2 > 0.4),  # ring
    lambda x, y: (abs(x) < 0.8) & (abs(y) < 0.8),  # square
    lambda x, y: (abs(x) < 0.8) & (abs(y) < 0.8) & ((abs(x) > 0.45) | (abs(y) > 0.45)),  # frame
    lambda x, y: abs(x) + abs(y) < 1,  # diamond
    lambda x, y: (y > -0.8) & (y < 0.8) & (abs(x) < (y + 0.8) / 1.6),  # triangle
    lambda x, y: ((abs(x) < 0.28) | (abs(y) < 0.28)) & (abs(x) < 0.9) & (abs(y) < 0.9),  # cross
    lambda x, y: (np.floor(3 * x) % 2 == 0) & (abs(x) < 1) & (abs(y) < 1),  # upright stripes
    lambda x, y: (np.floor(3 * y) % 2 == 0) & (abs(x) < 1) & (abs(y) < 1),  # level stripes
    lambda x, y: ((np.floor(2 * x) + np.floor(2 * y)) % 2 == 0) & (abs(x) < 1) & (abs(y) < 1),
)
"""The shape of each class on coordinates from -1 to 1; the last is a chessboard."""


def synthetic(_root: Path | None = None) -> DataSet:
    """Synthetic coloured shapes, 32 pixels, ten classes, drawn by program: 4,000 / 500 / 1,000.

    Place, size, tilt and both colours of a shape are random; noise is added to the image.
    """
    random = np.random.RandomState(0)
    counts = (TRAIN, VALIDATION, TEST)
    labels = random.permutation(np.arange(sum(counts)) % len(_SHAPES))
    images = np.stack([_draw(_SHAPES[label], random) for label in labels])
    pixels, classes = torch.from_numpy(images), torch.from_numpy(labels)
    ends = np.cumsum(counts)
    train, validation, test = (
        Split(pixels[end - count : end], classes[end - count : end])
        for end, count in zip(ends, counts, strict=True)
    )
    standard = Augmentation(4, True)
    return DataSet("synthetic", len(_SHAPES), train, validation, test, standard)


def _draw(shape: Shape, random: np.random.RandomState) -> NDArray[np.uint8]:
    """Draw one image [3, 32, 32]."""
    radius, tilt = random.uniform(6, 13), random.uniform(-0.35, 0.35)
    centre = SIZE / 2 + random.uniform(-4, 4, 2)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    y, x = (rows - centre[0]) / radius, (columns - centre[1]) / radius
    inside = shape(x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt))
    back = random.uniform(30, 225, (3, 1, 1))
    front = (back + random.uniform(50, 130, (3, 1, 1)) * random.choice([-1, 1], (3, 1, 1))) % 255
    image = np.where(inside, front, back) + random.normal(0, 22, (3, SIZE, SIZE))
    return image.clip(0, 255).astype(np.uint8)
