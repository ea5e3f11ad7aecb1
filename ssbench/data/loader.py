"""Batches of images in device memory, shuffled, shifted, flipped and normalised there.

Random numbers are drawn on the CPU for a whole epoch and copied to the device at once, so that no
batch waits for a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ssbench.data.dataset import Normalisation, Split
from ssbench.data.shard import WHOLE, Shard


@dataclass(frozen=True)
class Loader:
    """Normalised float batches of one split.

    Attributes:
        normalisation: mean and standard deviation, [C, 1, 1].
        shift: maximum random translation in pixels; the border is filled with 0.
        flip: mirror each image with probability 1/2.
        share: the rows of every shuffled batch that this process trains on.
    """

    split: Split
    normalisation: Normalisation
    batch_size: int
    shift: int = 0
    flip: bool = False
    share: Shard = WHOLE

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in stored order, without augmentation."""
        for start in range(0, len(self.split), self.batch_size):
            part = slice(start, start + self.batch_size)
            images = self.split.images[part].permute(0, 2, 3, 1).contiguous()
            yield self._normalised(images), self.split.labels[part]

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in random order, augmented.

        Both generators are on the CPU, so that every device sees the same batches. A last batch of
        one image joins the one before, because batch norm cannot normalise one value.
        """
        count, device = len(self.split), self.split.images.device
        chosen = torch.randperm(count, generator=order).to(device)
        sizes = batch_sizes(count, self.batch_size)
        drawn = [self._draw(size, augmentation) for size in sizes]
        offsets = torch.cat([offset for offset, _ in drawn], 1).to(device)
        mirrored = torch.cat([mirror for _, mirror in drawn]).to(device)
        epoch = (chosen, self.split.labels[chosen], *offsets, mirrored)
        parts = zip(*(whole.split(sizes) for whole in epoch), strict=True)
        for batch in parts:
            own = self.share.shown(len(batch[0]))
            where, labels, rows, columns, mirror = (values[own] for values in batch)
            images = self._windows[where, rows, columns]
            if self.flip:
                images = torch.where(mirror.reshape(-1, 1, 1, 1), images.flip(2), images)
            yield self._normalised(images), labels

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw window offsets [2, count] and mirror flags [count] for one batch."""
        offsets = torch.zeros(2, count, dtype=torch.long)
        mirrored = torch.zeros(count, dtype=torch.bool)
        if self.shift:
            offsets = torch.randint(0, 2 * self.shift + 1, (2, count), generator=generator)
        if self.flip:
            mirrored = torch.rand(count, generator=generator) < 0.5
        return offsets, mirrored

    @cached_property
    def _windows(self) -> Tensor:
        """Every image-sized window of every padded image, as a view [N, y, x, H, W, C]."""
        images = self.split.images.permute(0, 2, 3, 1)
        _, height, width, _ = images.shape
        padded = F.pad(images, (0, 0, *(self.shift,) * 4)).contiguous()
        return padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)

    @cached_property
    def _scale(self) -> Normalisation:
        """Mean and standard deviation expanded to [H, W, C], to avoid short channel loops."""
        shape = self.split.image_shape
        mean, sd = (part.expand(shape).permute(1, 2, 0) for part in self.normalisation)
        device = self.split.images.device
        return mean.contiguous().to(device), sd.contiguous().to(device)

    def _normalised(self, images: Tensor) -> Tensor:
        """Turn uint8 [n, H, W, C] into float [n, C, H, W], with the same memory layout."""
        mean, sd = self._scale
        return images.float().sub_(mean).div_(sd).permute(0, 3, 1, 2)


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """Return the batch sizes of one epoch; a last batch of one image joins the one before."""
    full, rest = divmod(count, batch_size)
    if rest == 1 and full:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * (rest > 0)
