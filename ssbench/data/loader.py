"""Batches of images that lie on the device: shuffled, shifted, flipped, normalised there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssbench.data.dataset import Normalisation, Split


@dataclass(frozen=True)
class Loader:
    """Normalised float batches of one split.

    Attributes:
        normalisation: mean and standard deviation, [C, 1, 1].
        shift: random translation by up to so many pixels, the border filled with 0.
        flip: mirror each image with probability 1/2.
    """

    split: Split
    normalisation: Normalisation
    batch_size: int
    shift: int = 0
    flip: bool = False

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images as they lie, without augmentation."""
        for start in range(0, len(self.split), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self._normalised(self.split.images[part]), self.split.labels[part]

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in random order, augmented.

        Both generators live on the CPU, so that every device sees the same batches. A last batch
        of one image joins the one before: batch norm cannot normalise one value.
        """
        images, labels = self.split.images, self.split.labels
        chosen = torch.randperm(len(self.split), generator=order)
        batches = list(chosen.split(self.batch_size))  # type: ignore[no-untyped-call]
        if len(batches) > 1 and batches[-1].numel() == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        for batch in batches:
            where = batch.to(images.device)
            yield self._normalised(self._augmented(images[where], augmentation)), labels[where]

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count = images.shape[0]
        if self.shift:
            offsets = torch.randint(0, 2 * self.shift + 1, (2, count), generator=generator)
            images = _shifted(images, offsets.to(images.device), self.shift)
        if self.flip:
            mirrored = torch.rand(count, generator=generator).to(images.device) < 0.5
            images = torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(3), images)
        return images

    def _normalised(self, images: Tensor) -> Tensor:
        mean, sd = (part.to(images.device) for part in self.normalisation)
        return ((images.float() - mean) / sd).contiguous(memory_format=torch.channels_last)


def _shifted(images: Tensor, offsets: Tensor, shift: int) -> Tensor:
    """Cut a window of the image's size out of each padded image at its own offset [2, N]."""
    count, channels, height, width = images.shape
    padded = F.pad(images, (shift,) * 4)
    rows = offsets[0].unsqueeze(1) + torch.arange(height, device=images.device)
    columns = offsets[1].unsqueeze(1) + torch.arange(width, device=images.device)
    picked = torch.arange(count, device=images.device).reshape(-1, 1, 1, 1)
    maps = torch.arange(channels, device=images.device).reshape(1, -1, 1, 1)
    return padded[picked, maps, rows[:, None, :, None], columns[:, None, None, :]]
