"""Images of a user's own loop, as the network takes them: tensors, arrays or a DataLoader.

Nothing is normalised or augmented: a DataLoader brings its own augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ssbench.data.batches import StreamFeed
from ssbench.data.dataset import Split
from ssbench.data.loader import batch_sizes
from ssbench.errors import BadInputError


@dataclass(frozen=True)
class Streamed(Split):
    """A DataLoader; ``images`` and ``labels`` are its first batch.

    Attributes:
        loader: yields pairs of images and labels.
        count: the number of images in one pass.
    """

    loader: DataLoader[Any] = field(repr=False)
    count: int

    def __len__(self) -> int:
        return self.count

    def to(self, device: torch.device) -> Streamed:
        """Return the split with its first batch on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def as_split(images: Any, labels: Any, place: str) -> Split:
    """Turn what a user has into a split of float images and int64 labels.

    Args:
        images: [N, C, H, W] as a tensor or an array, as the network takes them; or a DataLoader.
        labels: class numbers [N]; None with a DataLoader.
        place: the argument's name, for messages.

    Raises:
        BadInputError: the type, a shape or a value does not fit; says what would.
    """
    if isinstance(images, DataLoader):
        if labels is not None:
            raise BadInputError(f"{place}: a DataLoader brings its labels; leave out labels")
        return _streamed(images, place)
    if labels is None:
        raise BadInputError(f"{place}: labels are missing; give class numbers [N], or a DataLoader")
    pixels, classes = _tensor(images, place), _tensor(labels, f"{place}: labels")
    if pixels.dim() != 4 or not pixels.is_floating_point():
        raise BadInputError(
            f"{place}: {_described(pixels)}; give float images [N, C, H, W], normalised as the "
            "network takes them"
        )
    if classes.dim() != 1 or classes.is_floating_point() or len(classes) != len(pixels):
        raise BadInputError(
            f"{place}: labels are {_described(classes)} for {len(pixels)} images; give their class "
            "numbers, integers [N]"
        )
    if len(pixels) < 2 or not pixels.isfinite().all():
        what = "not finite" if len(pixels) > 1 else "fewer than two"
        raise BadInputError(f"{place}: the images are {what}; give at least two, finite ones")
    return Split(pixels.detach().float(), classes.long())


def _tensor(values: Any, place: str) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        return torch.from_numpy(np.ascontiguousarray(values))
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{place}: {error}; give a tensor, an array or a DataLoader") from error


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _streamed(loader: DataLoader[Any], place: str) -> Streamed:
    try:
        batches = len(loader)
    except TypeError as error:
        raise BadInputError(f"{place}: the DataLoader has no length; give its data one") from error
    if loader.batch_size is None or not batches:
        raise BadInputError(f"{place}: the DataLoader has no batch_size, or no batch; give it one")
    count = batches * loader.batch_size if loader.drop_last else len(loader.sampler)  # type: ignore[arg-type]
    first = next(_seeded(loader, 0), None)
    if not isinstance(first, tuple | list) or len(first) != 2:
        raise BadInputError(f"{place}: the DataLoader must yield pairs (images, labels)")
    images, labels = first
    split = as_split(images, labels, f"{place}: the first batch")
    return Streamed(split.images, split.labels, loader, count)


@dataclass(frozen=True)
class TensorBatches:
    """Batches of images in memory."""

    split: Split
    batch_size: int

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in stored order."""
        whole = (self.split.images, self.split.labels)
        parts = (torch.split(tensor, self.batch_size) for tensor in whole)
        for images, labels in zip(*parts, strict=True):
            yield images.clone(), labels  # a network may write to its input

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in random order; a last batch of one joins the one before."""
        del augmentation
        chosen = torch.randperm(len(self.split), generator=order).to(self.split.images.device)
        for part in torch.split(chosen, batch_sizes(len(self.split), self.batch_size)):
            yield self.split.images[part], self.split.labels[part]

    def feed(self) -> StreamFeed:
        """Make the feed of a training."""
        return StreamFeed(self.shuffled)


@dataclass(frozen=True)
class LoadedBatches:
    """Batches of a user's DataLoader, in its own order and with its own augmentation."""

    split: Streamed
    device: torch.device

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over what the loader yields."""
        return self._moved(_seeded(self.split.loader, 0))

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once; ``order`` decides the loader's own random order."""
        del augmentation
        seed = int(torch.randint(2**62, (), generator=order))
        held: tuple[Tensor, Tensor] | None = None
        for images, labels in self._moved(_seeded(self.split.loader, seed)):
            if held is not None and len(labels) == 1:  # batch norm cannot normalise one value
                held = (torch.cat([held[0], images]), torch.cat([held[1], labels]))
                continue
            if held is not None:
                yield held
            held = (images, labels)
        if held is not None:
            yield held

    def feed(self) -> StreamFeed:
        """Make the feed of a training."""
        return StreamFeed(self.shuffled, check=True)

    def _moved(self, batches: Iterator[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in batches:
            yield images.float().to(self.device), labels.long().to(self.device)


def _seeded(loader: DataLoader[Any], seed: int) -> Iterator[Any]:
    """Start a pass whose order depends on the seed alone; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        batches = iter(loader)
        first = list(islice(batches, 1))  # the sampler draws its order with the first batch
    yield from first
    yield from batches
