"""A data set in memory: images as they are stored, labels, and how to normalise them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


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


@dataclass(frozen=True)
class DataSet:
    """Three splits: choices are made on validation, results are those on test."""

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split

    @property
    def channels(self) -> int:
        """The number of image channels."""
        return self.train.images.shape[1]

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training images, by channel, [C, 1, 1]."""
        pixels = self.train.images.double()
        dims = (0, 2, 3)
        mean, sd = pixels.mean(dims), pixels.std(dims)
        return mean.float().reshape(-1, 1, 1), sd.float().reshape(-1, 1, 1)

    @property
    def fingerprint(self) -> str:
        """A hash of every image and label in their order, as hexadecimal digits."""
        digest = hashlib.sha256(f"{self.name}:{self.classes}".encode())
        for split in (self.train, self.validation, self.test):
            for tensor in (split.images, split.labels):
                digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
