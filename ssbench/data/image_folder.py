"""Images that stay on the disk: a folder for each class, read as they are needed.

ROOT/train/CLASS/*.jpg    ROOT/val/CLASS/*.jpg

`ssbench.data.tree` says which files count, `ssbench.data.picture` how they become pixels.
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
"""The most training images of a class that are held out for validation; at most a tenth of them."""
HASHED_BYTES = 2 << 30
"""Up to so many bytes are read for a fingerprint, and decoded before the first training."""
LOSSLESS = ("utf-8", "surrogateescape")
"""How names become bytes again, whatever bytes they are."""


@dataclass(frozen=True)
class Files:
    """One split: paths below a folder and their classes, in a fixed order.

    Attributes:
        labels: int64 [N].
        preprocessing: how an image becomes what the network gets.
        device: where batches go.
        plain: images are converted to RGB as torchvision does, without the rules of
            `ssbench.data.picture`; accuracies published for ImageNet are measured so.
        keep: the folder of all data sets, where it is kept what was found in the images.
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
            BadInputError: a file cannot be looked at, or is empty.
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
        """Whether all files are read before training."""
        return sum(self.sizes) <= HASHED_BYTES

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all paths, classes and sizes of files; up to 2 GiB also of their content.

        A set like ImageNet's, of 140 GB, is taken at the word of its names and sizes. Images that
        a plain conversion to RGB would show otherwise are named in it too. How images are
        preprocessed is no part of it.

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
        """What was found in the images, before training or at another time.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        if self.plain and not self.is_small:
            return {}
        return survey(self.root, self.paths, self._key, self.keep, decode=self.is_small)

    def verify(self) -> None:
        """Decode every image that was not decoded yet with the same bytes.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        if self.is_small:
            _ = self.found
        else:
            look(self.root, self.paths, decode=True)

    @property
    def _key(self) -> str:
        """What `found` is kept under: where contents are not read, also when they changed."""
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
    """What a folder of images is made of.

    Attributes:
        remarks: what a user has to know of it, each in one line.
    """

    classes: int
    train: Files
    validation: Files
    test: Files
    remarks: tuple[str, ...]


def splits(root: Path, place: str) -> Folder:
    """Find the classes, and the files for training, validation and test.

    Of each class a tenth of the training images, at least one and at most ten, is held out for
    validation, drawn by a fixed permutation (numpy's frozen RandomState, 0); a class of one image
    keeps it for training. The folder ``val`` is the test split.

    Args:
        root: the folder that has ``train`` and ``val`` in it.
        place: what named the folder, for errors.

    Raises:
        BadInputError: a folder is missing or empty, or the classes of the two differ.
    """
    for part in PARTS:
        if not (root / part).is_dir():
            raise BadInputError(
                f"{place}: {root / part} is no folder; expected {root}/train/CLASS/*.jpg and "
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
            f"{place}: no class below {root / 'train'} has two images, of which one could be held "
            "out for validation; add some"
        )
    said = [*remarks(root, trees, place), *_single(found, place)]
    files = [_files(root, part) for part in (train, validation, test)]
    return Folder(len(found), files[0], files[1], files[2], tuple(said))


def _single(classes: Mapping[str, Sequence[str]], place: str) -> list[str]:
    single = [name for name, paths in classes.items() if len(paths) == 1]
    if not single:
        return []
    names = ", ".join(map(repr, single[:SHOWN])) + (" …" if len(single) > SHOWN else "")
    return [
        f"{place}: one training image only of {names}: it is trained on, and validation has none"
    ]


def _files(root: Path, part: list[tuple[str, int]]) -> Files:
    return Files(root, tuple(path for path, _ in part), torch.tensor([label for _, label in part]))
