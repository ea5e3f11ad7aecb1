"""Images in files: paths, classes and fingerprint of one split.

`ssbench.data.own.layout` divides a folder into splits, `ssbench.data.tree` says which files count,
`ssbench.data.picture` how to decode them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from ssbench.data.picture import shown
from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.data.survey import Found, look, survey
from ssbench.errors import BadInputError

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
        return (3, *self.preprocessing.shape)

    @cached_property
    def sizes(self) -> list[int]:
        """Every file's size in bytes.

        Raises:
            BadInputError: a file is unreadable or empty.
        """
        sizes, root = [], str(self.root)
        for path in self.paths:
            try:
                found = os.stat(f"{root}/{path}")  # noqa: PTH116 -- pathlib takes three times as long
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
                digest.update(read_file(f"{self.root}/{path}"))
        return digest.hexdigest()

    @cached_property
    def found(self) -> Found:
        """Findings about the images, from this or an earlier look.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        if self.plain and not self.is_small:
            return {}
        return survey(self.root, self.paths, self.key, self.keep, decode=self.is_small)

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
    def key(self) -> str:
        """A hash that names these files in what is kept of them.

        Includes the times of changes if contents are not read.
        """
        if self.is_small:
            return self.content
        times = [(self.root / path).stat().st_mtime_ns for path in self.paths]
        return hashlib.sha256(f"{self.content}{times}".encode()).hexdigest()


def read_file(path: Path | str) -> bytes:
    """Read the bytes of an image.

    Raises:
        BadInputError: names the file that cannot be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- pathlib takes three times as long
            return file.read()
    except OSError as error:
        raise _unreadable(Path(path), error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        f"{shown(path)}: cannot be read ({error.strerror}); make it readable or remove it"
    )
