"""A data set: stored images, labels, normalisation and augmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssbench.data.held_back import HeldBack, check_open
from ssbench.data.image_folder import Files
from ssbench.data.preprocessing import Preprocessing

Normalisation = tuple[Tensor, Tensor]
"""Mean and standard deviation by channel, each [C, 1, 1], on the scale of the stored values."""


@dataclass(frozen=True)
class Split:
    """Images, uint8 [N, C, H, W], and labels, int64 [N], on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.numel()

    def to(self, device: torch.device) -> Split:
        """Return the split on another device."""
        return Split(self.images.to(device), self.labels.to(device))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self.images.shape[1:])


@dataclass(frozen=True)
class Augmentation:
    """The data set's default augmentation, unless a recipe (`ssbench.training`) sets another."""

    shift: int = 0
    flip: bool = False


@dataclass(frozen=True)
class DataSet:
    """Three splits: choices use validation, results use test.

    Attributes:
        fixed: the normalisation of images in memory; None: that of the training images.
        remarks: notes on the files for the user, one line each.
        names: of the classes, if they are known.
        places: files and folders of one's own that hold test images, and training needs no more.
        origin: the files that the splits were decoded from.
        facts: how images of one's own were prepared, for records; empty: a set that ssbench knows.
    """

    name: str
    classes: int
    train: Split | Files
    validation: Split | Files
    test: Split | Files | HeldBack
    standard: Augmentation = Augmentation()
    fixed: Normalisation | None = None
    remarks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    places: tuple[Path, ...] = ()
    origin: tuple[Files, Files, Files] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_open()

    @property
    def channels(self) -> int:
        """The number of image channels."""
        return self.train.image_shape[0]

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training images, by channel, [C, 1, 1].

        Folders use the values of their preprocessing.
        """
        if isinstance(self.train, Files):
            how = self.train.preprocessing
            return _pixels(how.mean), _pixels(how.sd)
        if self.fixed is not None:
            return self.fixed
        if self.train.images.numel() < 10_000_000:
            pixels = self.train.images.double()
            dims = (0, 2, 3)
            mean, sd = pixels.mean(dims), pixels.std(dims)
        else:
            mean, sd = _by_counting(self.train.images)
        return mean.float().reshape(-1, 1, 1), sd.float().reshape(-1, 1, 1)

    @property
    def on_disk(self) -> Preprocessing | None:
        """The preprocessing of images that stay on disk; None: they are in memory."""
        return self.train.preprocessing if isinstance(self.train, Files) else None

    def prepared(self, how: Preprocessing) -> DataSet:
        """Return the data set under another preprocessing; images in memory have none."""
        if not isinstance(self.train, Files) or self.train.preprocessing == how:
            return self
        found = copy(self)  # opens nothing, so held-back test images stay held back
        for cached in ("normalisation", "fingerprint"):
            vars(found).pop(cached, None)
        for name in ("train", "validation", "test"):
            object.__setattr__(found, name, _prepared(getattr(self, name), how))
        return found

    @property
    def guess_error(self) -> float:
        """The test error in percent of always answering with the most frequent class."""
        if isinstance(self.test, HeldBack):
            return self.test.guess_error
        labels = self.test.labels
        return 100 * (1 - float(torch.bincount(labels).max()) / len(labels))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every image and label in order, as hexadecimal digits.

        Images in memory are hashed as training sees them: decoded, and with a normalisation that is
        not measured on them. For folders see `ssbench.data.image_folder.Files.fingerprint`.
        """
        digest = hashlib.sha256(f"{self.name}:{self.classes}".encode())
        for split in (self.train, self.validation, self.test):
            assert not isinstance(split, HeldBack)
            if isinstance(split, Files):
                digest.update(split.fingerprint.encode())
                continue
            for tensor in (split.images, split.labels):
                digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        if self.standard != Augmentation():
            digest.update(repr(self.standard).encode())
        if self.fixed is not None:
            digest.update(repr([part.flatten().tolist() for part in self.fixed]).encode())
        return digest.hexdigest()[:16]


def _prepared(part: Split | Files | HeldBack, how: Preprocessing) -> Split | Files | HeldBack:
    if isinstance(part, HeldBack):
        read = part.read
        return replace(part, read=lambda: _prepared(read(), how))
    return replace(part, preprocessing=how) if isinstance(part, Files) else part


def _pixels(values: Sequence[float]) -> Tensor:
    """Values of 0 to 1 by channel on the scale 0 to 255, [C, 1, 1]."""
    return 255 * torch.tensor(values).reshape(-1, 1, 1)


def _by_counting(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and sample standard deviation by channel [C], without a double-precision copy."""
    values = torch.arange(256, dtype=torch.double)
    means, sds = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1).int(), minlength=256).double()
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * (values - mean).square()).sum() / (counts.sum() - 1)
        means.append(mean)
        sds.append(variance.sqrt())
    return torch.stack(means), torch.stack(sds)
