"""The interface of loaders, for images in memory or in files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from ssbench.data.dataset import Split
from ssbench.data.image_folder import Files


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
