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
        feed = self.feed()
        feed.begin(order, augmentation)
        for size in batch_sizes(len(self.split), self.batch_size):
            yield feed.batch(size)

    def feed(self) -> MemoryFeed:
        """Make the feed of a training."""
        return MemoryFeed(self)

    def numbers(self, order: torch.Generator, augmentation: torch.Generator) -> Tensor:
        """Draw an epoch: for each image its number, window offsets and mirror flag, [4, N]."""
        count = len(self.split)
        chosen = torch.randperm(count, generator=order)
        sizes = batch_sizes(count, self.batch_size)
        drawn = torch.cat([self._draw(size, augmentation) for size in sizes], 1)
        return torch.cat([chosen.unsqueeze(0), drawn])

    def pictures(self, numbers: Tensor) -> Tensor:
        """Cut, mirror and normalise the images of these `numbers`, [4, n]."""
        where, rows, columns, mirror = numbers.unbind()
        images = self._windows[where, rows, columns]
        if self.flip:
            images = torch.where(mirror.bool().reshape(-1, 1, 1, 1), images.flip(2), images)
        return self._normalised(images)

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw window offsets and mirror flags for one batch, [3, count]."""
        drawn = torch.zeros(3, count, dtype=torch.long)
        if self.shift:
            drawn[:2] = torch.randint(0, 2 * self.shift + 1, (2, count), generator=generator)
        if self.flip:
            drawn[2] = torch.rand(count, generator=generator) < 0.5
        return drawn

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


class MemoryFeed:
    """Takes batches from images in device memory, by a position that lies there too.

    A step that is recorded once therefore finds the next batch by itself.
    """

    steady = True

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._device = loader.split.images.device
        self._numbers: Tensor | None = None
        self._at = torch.zeros((), dtype=torch.long, device=self._device)
        self._steps: dict[int, Tensor] = {}

    def begin(self, order: torch.Generator, augmentation: torch.Generator) -> None:
        """Start an epoch: copy its random numbers to the device at once."""
        drawn = self._loader.numbers(order, augmentation)
        if self._numbers is None:
            self._numbers = drawn.to(self._device)
        else:
            self._numbers.copy_(drawn)
        self._at.zero_()

    def fetch(self, size: int) -> None:
        """Do nothing: all images are on the device."""
        del size

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return this process's share of the next ``size`` images, and go on to the next batch."""
        assert self._numbers is not None  # begin was called
        numbers = self._numbers.index_select(1, self._at + self._share(size))
        self._at.add_(size)
        return self._loader.pictures(numbers), self._loader.split.labels[numbers[0]]

    def fix(self, size: int) -> None:
        """Do nothing: `batch` reads and writes the same memory at every step."""
        del size

    def state(self) -> list[Tensor]:
        """Return the position in the epoch."""
        return [self._at]

    def _share(self, size: int) -> Tensor:
        """The places of this process's rows in a batch."""
        if size not in self._steps:
            own = self._loader.share.shown(size)
            self._steps[size] = torch.arange(own.start, own.stop, device=self._device)
        return self._steps[size]


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """Return the batch sizes of one epoch; a last batch of one image joins the one before."""
    full, rest = divmod(count, batch_size)
    if rest == 1 and full:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * (rest > 0)
