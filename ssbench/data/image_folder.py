"""Images that stay on disk: a folder for each class, read when they are needed.

ROOT/train/CLASS/*.jpg    ROOT/val/CLASS/*.jpg

`ssbench.data.tree` says which files count, `ssbench.data.picture` how to decode them.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ssbench.data.picture import shown
from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.data.survey import Found, look, survey
from ssbench.data.tree import PARTS, SHOWN, read_tree, remarks, same_classes
from ssbench.errors import BadInputError

HELD_OUT = 10
"""The most training images of a class held out for validation; at most a tenth of them."""
HASHED_BYTES = 2 << 30
"""Up to this size files are hashed for a fingerprint, and decoded before the first training."""
LOSSLESS = ("utf-8", "surrogateescape")
"""Encoding of names that keeps their bytes."""


@dataclass(frozen=True)
class Files:
    """One split: paths below a folder and their classes, in a fixed order.

    Attributes:
        labels: int64 [N].
        preprocessing: how an image becomes the network's input.
        device: of the batches.
        plain: convert images to RGB as torchvision does, without the rules of
            `ssbench.data.picture`; published ImageNet accuracies are measured this way.
        keep: the folder of all data sets, where findings about the images are kept.
    """

    root: Path
    paths: tuple[str, ...]
    labels: torch.Tensor
    preprocessing: Preprocessing = STANDARD
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    plain: bool = False
    keep: Path | None = None

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
    def sizes(self) -> list[int]:
        """Every file's size in bytes.

        Raises:
            BadInputError: a file is unreadable or empty.
        """
        sizes = []
        for path in self.paths:
            try:
                found = (self.root / path).stat()
            except OSError as error:
                raise _unreadable(self.root / path, error) from error
            if not found.st_size or not stat.S_ISREG(found.st_mode):
                what = "an empty file" if stat.S_ISREG(found.st_mode) else "no regular file"
                raise BadInputError(f"{shown(self.root / path)}: {what}; remove it")
            sizes.append(found.st_size)
        return sizes

    @property
    def is_small(self) -> bool:
        """Whether to read all files before training."""
        return sum(self.sizes) <= HASHED_BYTES

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all paths, classes and file sizes; up to 2 GiB also of the content.

        A set like ImageNet, of 140 GB, is identified by names and sizes alone. The hash includes
        images that a plain conversion to RGB would show differently, but not the preprocessing.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        rules = [f"{path}:{seen.rules}" for path, seen in self.found.items() if seen.rules]
        if self.plain or not rules:
            return self.content
        return hashlib.sha256("\n".join([self.content, *rules]).encode(*LOSSLESS)).hexdigest()

    @cached_property
    def content(self) -> str:
        """A hash of all files, by their content up to 2 GiB."""
        digest = hashlib.sha256(f"{STANDARD.crop}".encode())
        whole = self.is_small
        for path, label, size in zip(self.paths, self.labels.tolist(), self.sizes, strict=True):
            digest.update(f"{path}:{label}:{size}\n".encode(*LOSSLESS))
            if whole:
                digest.update(read_file(self.root / path))
        return digest.hexdigest()

    @cached_property
    def found(self) -> Found:
        """Findings about the images, from this or an earlier look.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        if self.plain and not self.is_small:
            return {}
        return survey(self.root, self.paths, self._key, self.keep, decode=self.is_small)

    def verify(self) -> None:
        """Decode every image whose bytes were not decoded before.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        if self.is_small:
            _ = self.found
        else:
            look(self.root, self.paths, decode=True)

    @property
    def _key(self) -> str:
        """The key of `found`; includes the times of changes if contents are not read."""
        if self.is_small:
            return self.content
        times = [(self.root / path).stat().st_mtime_ns for path in self.paths]
        return hashlib.sha256(f"{self.content}{times}".encode()).hexdigest()


def read_file(path: Path) -> bytes:
    """Read the bytes of an image.

    Raises:
        BadInputError: names the file that cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        f"{shown(path)}: cannot be read ({error.strerror}); make it readable or remove it"
    )


@dataclass(frozen=True)
class Folder:
    """The splits of a folder of images.

    Attributes:
        remarks: what a user should know about it, each in one line.
    """

    classes: int
    train: Files
    validation: Files
    test: Files
    remarks: tuple[str, ...]


def splits(root: Path, place: str) -> Folder:
    """Find the classes, and the files for training, validation and test.

    Holds out a tenth of each class's training images for validation, at least one and at most ten,
    drawn by a fixed permutation (numpy's frozen RandomState, 0); a class of one image keeps it for
    training. The folder ``val`` is the test split.

    Args:
        root: the folder with ``train`` and ``val``.
        place: the key that names the folder, for errors.

    Raises:
        BadInputError: a folder is missing or empty, or their classes differ.
    """
    for part in PARTS:
        if not (root / part).is_dir():
            raise BadInputError(
                f"{place}: {root / part} is not a folder; expected {root}/train/CLASS/*.jpg and "
                f"{root}/val/CLASS/*.jpg"
            )
    trees = [read_tree(root, part, place) for part in PARTS]
    found, tested = (tree.classes for tree in trees)
    same_classes(found, tested, place)
    random = np.random.RandomState(0)
    train: list[tuple[str, int]] = []
    validation: list[tuple[str, int]] = []
    test: list[tuple[str, int]] = []
    for label, (name, paths) in enumerate(found.items()):
        order = random.permutation(len(paths))
        count = min(HELD_OUT, max(1, len(paths) // 10), len(paths) - 1)
        validation += [(paths[i], label) for i in sorted(order[:count])]
        train += [(paths[i], label) for i in sorted(order[count:])]
        test += [(path, label) for path in tested[name]]
    if not validation:
        raise BadInputError(
            f"{place}: no class below {root / 'train'} has two images, so none can be held out for "
            "validation; add some"
        )
    notes = [*remarks(root, trees, place), *_single(found, place)]
    files = [_files(root, part) for part in (train, validation, test)]
    return Folder(len(found), files[0], files[1], files[2], tuple(notes))


def _single(classes: Mapping[str, Sequence[str]], place: str) -> list[str]:
    single = [name for name, paths in classes.items() if len(paths) == 1]
    if not single:
        return []
    names = ", ".join(map(repr, single[:SHOWN])) + (" …" if len(single) > SHOWN else "")
    return [
        f"{place}: only one training image of {names}: training uses it, and validation has none"
    ]


def _files(root: Path, part: list[tuple[str, int]]) -> Files:
    return Files(root, tuple(path for path, _ in part), torch.tensor([label for _, label in part]))
