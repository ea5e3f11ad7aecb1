"""The interface of loaders, for images in memory, in files or from anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from ssbench.data.dataset import Split
from ssbench.data.image_folder import Files
from ssbench.errors import RunFailedError

Shuffled = Callable[[torch.Generator, torch.Generator], Iterator[tuple[Tensor, Tensor]]]


class Feed(Protocol):
    """The shuffled batches of a training, one epoch after the other.

    A step on a GPU may be recorded and replayed: what `batch` does is then done again, but none of
    its Python. So all that a step needs of the host happens in `fetch`.
    """

    def begin(self, order: torch.Generator, augmentation: torch.Generator) -> None:
        """Start an epoch: draw the order of its images and their augmentation."""

    def fetch(self, size: int) -> None:
        """Make the next batch available; called once before each step.

        Args:
            size: the number of images over all processes.
        """

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the images [n, C, H, W] and labels [n] of the current batch, on the device.

        Args:
            size: as for `fetch`; n is this process's share of it.
        """

    def fix(self, size: int) -> None:
        """From the next `fetch` on, put each batch of this size into the same memory."""

    @property
    def steady(self) -> bool:
        """Whether that is possible: batches of one size have one shape."""

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


class StreamFeed:
    """Takes batches as they come; recorded steps read them from memory that is filled before each.

    Args:
        shuffled: starts an epoch, see `Batches.shuffled`.
        check: whether each batch must have the planned number of images.
    """

    def __init__(self, shuffled: Shuffled, *, check: bool = False) -> None:
        self._shuffled, self._check, self.steady = shuffled, check, True
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._now: tuple[Tensor, Tensor] | None = None
        self._fixed: dict[int, tuple[Tensor, Tensor] | None] = {}

    def begin(self, order: torch.Generator, augmentation: torch.Generator) -> None:
        """Start an epoch; the one before ends, so that processes that read come to rest."""
        next(self._batches, None)
        self._batches = self._shuffled(order, augmentation)

    def fetch(self, size: int) -> None:
        """Wait for the next batch.

        Raises:
            RunFailedError: it has another number of images than was planned.
        """
        batch = next(self._batches, None)
        if batch is None or (self._check and len(batch[1]) != size):
            found = f"a batch of {len(batch[1])} images" if batch else "no batch"
            raise RunFailedError(f"the loader gave {found} where {size} images were due")
        images, labels = batch
        if size in self._fixed and self.steady:
            there = self._fixed[size] or (torch.empty_like(images), torch.empty_like(labels))
            self.steady = there[0].shape == images.shape and there[1].shape == labels.shape
            if self.steady:
                self._fixed[size] = batch = there
                there[0].copy_(images)
                there[1].copy_(labels)
        self._now = batch

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the current batch."""
        del size
        assert self._now is not None  # fetch was called
        return self._now

    def fix(self, size: int) -> None:
        """From the next `fetch` on, put each batch of this size into the same memory."""
        self._fixed.setdefault(size, None)

    def state(self) -> list[Tensor]:
        """Return nothing: `batch` changes nothing."""
        return []
