"""The interface of loaders, for images in memory or in files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from ssbench.data.dataset import Split
from ssbench.data.image_folder import Files


class Feed(Protocol):
    """The shuffled batches of a training, one epoch after the other.

    A step on a GPU may be recorded and replayed: what `batch` does is then done again, but none of
    its Python. So all that a step needs of the host happens in `fetch`.
    """

    def begin(self, order: torch.Generator, augmentation: torch.Generator) -> None:
        """Start an epoch: draw the order of its images and their augmentation."""

    def fetch(self) -> None:
        """Make the next batch available; called once before each step."""

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the images [n, C, H, W] and labels [n] of the current batch, on the device.

        Args:
            size: the number of images over all processes; n is this process's share of it.
        """

    def fix(self, size: int) -> None:
        """From the next `fetch` on, put each batch of this size into the same memory."""

    def state(self) -> list[Tensor]:
        """Return the tensors that `batch` changes."""


class Batches(Protocol):
    """Normalised float batches [n, C, H, W] with labels [n], on one device."""

    @property
    def split(self) -> Split | Files:
        """The split of these images."""

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in stored order, without augmentation."""

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in random order, augmented; both generators are on the CPU."""

    def feed(self) -> Feed:
        """Make the feed of a training: each of its epochs is a pass as `shuffled` makes it."""
