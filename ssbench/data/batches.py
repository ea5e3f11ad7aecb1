"""What training and evaluation ask of a loader, wherever its images lie."""

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
        """Whose images these are."""

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images as they lie, without augmentation."""

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in random order, augmented; both generators on the CPU."""
