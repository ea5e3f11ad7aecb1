"""Images that stay on the disk: a folder for each class, read as they are needed.

ROOT/train/CLASS/*.jpg    ROOT/val/CLASS/*.jpg
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.errors import BadInputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
HELD_OUT = 10
"""The most training images of a class that are held out for validation; at most a tenth of them."""
HASHED_BYTES = 2 << 30
"""Up to so many bytes are read for a fingerprint."""


@dataclass(frozen=True)
class Files:
    """One split: paths below a folder and their classes, in a fixed order.

    Attributes:
        labels: int64 [N].
        preprocessing: how an image becomes what the network gets.
        device: where batches go.
    """

    root: Path
    paths: tuple[str, ...]
    labels: torch.Tensor
    preprocessing: Preprocessing = STANDARD
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.paths)

    def to(self, device: torch.device) -> Files:
        """Return the split with batches on another device."""
        return replace(self, device=device)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return (3, self.preprocessing.crop, self.preprocessing.crop)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all paths, classes and sizes of files; up to 2 GiB also of their content.

        A set like ImageNet's, of 140 GB, is taken at the word of its names and sizes. How images
        are preprocessed is no part of it.
        """
        digest = hashlib.sha256(f"{STANDARD.crop}".encode())
        sizes = [(self.root / path).stat().st_size for path in self.paths]
        whole = sum(sizes) <= HASHED_BYTES
        for path, label, size in zip(self.paths, self.labels.tolist(), sizes, strict=True):
            digest.update(f"{path}:{label}:{size}\n".encode())
            if whole:
                digest.update((self.root / path).read_bytes())
        return digest.hexdigest()


def splits(root: Path, place: str) -> tuple[int, Files, Files, Files]:
    """Find the classes, and the files for training, validation and test.

    Of each class a tenth of the training images, at most ten, is held out for validation, drawn
    by a fixed permutation (numpy's frozen RandomState, 0); the folder ``val`` is the test split.

    Args:
        root: the folder that has ``train`` and ``val`` in it.
        place: what named the folder, for errors.

    Raises:
        BadInputError: a folder is missing or empty, or the classes of the two differ.
    """
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise BadInputError(
                f"{place}: {root / part} is no folder; expected {root}/train/CLASS/*.jpg and "
                f"{root}/val/CLASS/*.jpg"
            )
    found = {part: _classes(root, part, place) for part in ("train", "val")}
    classes = list(found["train"])
    if classes != list(found["val"]):
        different = sorted(set(classes) ^ set(found["val"]))
        raise BadInputError(
            f"{place}: train and val have different classes: {', '.join(different[:5])} "
            f"{'…' if len(different) > 5 else ''}is in one of them only"
        )
    random = np.random.RandomState(0)
    train: list[tuple[str, int]] = []
    validation: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        paths = found["train"][name]
        order = random.permutation(len(paths))
        count = min(HELD_OUT, max(1, len(paths) // 10))
        validation += [(paths[i], label) for i in sorted(order[:count])]
        train += [(paths[i], label) for i in sorted(order[count:])]
        test += [(path, label) for path in found["val"][name]]
    if len(train) < 2:
        raise BadInputError(f"{place}: {root / 'train'} holds too few images to train on")
    return len(classes), _files(root, train), _files(root, validation), _files(root, test)


def _classes(root: Path, part: str, place: str) -> dict[str, list[str]]:
    """By class, the images of a part, relative to the root, in alphabetical order."""
    found = {}
    for folder in sorted(path for path in (root / part).iterdir() if path.is_dir()):
        images = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
        if not images:
            raise BadInputError(f"{place}: {folder} holds no image ({', '.join(SUFFIXES)})")
        found[folder.name] = [f"{part}/{folder.name}/{path.name}" for path in images]
    if len(found) < 2:
        raise BadInputError(f"{place}: {root / part} has {len(found)} folders of classes; need two")
    return found


def _files(root: Path, part: list[tuple[str, int]]) -> Files:
    return Files(root, tuple(path for path, _ in part), torch.tensor([label for _, label in part]))
