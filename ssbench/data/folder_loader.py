"""Batches of images read from disk, by worker processes if there are many.

Training: a crop of random area and shape (Szegedy et al. 2015), resized, mirrored; evaluation: see
`ssbench.data.preprocessing.Preprocessing`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import Thread
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ssbench.data.batches import StreamFeed
from ssbench.data.dataset import Normalisation
from ssbench.data.image_folder import Files
from ssbench.data.picture import read_image
from ssbench.data.shard import WHOLE, Shard
from ssbench.errors import BadInputError

FEW = 500
"""For fewer images, starting worker processes takes longer than they save."""
MOST_WORKERS = 16
Item = tuple[int, int]
"""The number of an image, and the seed of its augmentation; negative: none."""


@dataclass(frozen=True)
class FolderLoader:
    """Normalised float batches of one split; the same interface as `ssbench.data.loader.Loader`.

    Attributes:
        normalisation: mean and standard deviation of values 0 to 255, [3, 1, 1].
        shift: whether to crop training images at random (0: crop the middle).
        flip: mirror each training image with probability 1/2.
        workers: processes that read; None: one per core, none for few images.
        share: this process's rows of every shuffled batch.
    """

    split: Files
    normalisation: Normalisation
    batch_size: int
    shift: int = 1
    flip: bool = True
    workers: int | None = None
    share: Shard = WHOLE

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in stored order, without augmentation."""
        numbers = [(number, -1) for number in range(len(self.split))]
        return self._batches([numbers[i : i + self.batch_size] for i in self._starts()])

    def shuffled(
        self, order: torch.Generator, augmentation: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pass once over the images in random order, augmented.

        Each image has its own seed, drawn here, so the number of workers does not matter. A last
        batch of one image joins the one before.
        """
        count = len(self.split)
        chosen = torch.randperm(count, generator=order).tolist()
        seeds = torch.randint(0, 1 << 62, (count,), generator=augmentation).tolist()
        if not self.shift and not self.flip:
            seeds = [-1] * count
        items = list(zip(chosen, seeds, strict=True))
        batches = [items[i : i + self.batch_size] for i in self._starts()]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]
        return self._batches([batch[self.share.shown(len(batch))] for batch in batches])

    def feed(self) -> StreamFeed:
        """Make the feed of a training."""
        return StreamFeed(self.shuffled)

    def _starts(self) -> range:
        return range(0, len(self.split), self.batch_size)

    @cached_property
    def _reader(self) -> _Reader:
        few = len(self.split) < FEW
        workers = 0 if few else min(-(-(os.cpu_count() or 1) // self.share.of), MOST_WORKERS)
        return _Reader(
            _Images(self.split, bool(self.shift), self.flip),
            workers if self.workers is None else self.workers,
            pin_memory=self.split.device.type == "cuda",
        )

    def _batches(self, batches: list[list[Item]]) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.split.device
        mean, sd = (part.to(device) for part in self.normalisation)
        for images, labels in self._reader.read(batches):
            pixels = images.to(device, non_blocking=True).float()
            normalised = ((pixels - mean) / sd).contiguous(memory_format=torch.channels_last)
            yield normalised, labels.to(device, non_blocking=True)


def _undisturbed(_: int) -> None:
    """Keep a process that reads images running when all processes are asked to stop.

    The training process needs it until the end of the epoch, and then ends it. If that fails
    because an exception holds the loader, Python asks its children to stop when it exits, and waits
    for them without limit: a SIGTERM from the parent ends this process.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    Thread(target=_end_when_asked_by, args=(os.getppid(),), daemon=True).start()


def _end_when_asked_by(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


class _Reader:
    """Reads batches in worker processes that stay from one pass to the next.

    Starting them takes as long as reading one or two hundred images. They end with the reader.
    """

    def __init__(self, images: _Images, workers: int, *, pin_memory: bool) -> None:
        self._images, self._workers, self._pin_memory = images, workers, pin_memory
        self._asked: list[list[Item]] = []
        self._reading = False
        self._loader = self._loading(self._asked, stay=workers > 0)

    def _loading(self, batches: list[list[Item]], *, stay: bool) -> DataLoader[Any]:
        return DataLoader(
            self._images,
            batch_sampler=batches,
            num_workers=self._workers,
            persistent_workers=stay,
            pin_memory=self._pin_memory,
            worker_init_fn=_undisturbed,
            collate_fn=_collated,
            generator=torch.Generator(),  # the global one would disturb gates, which use it
        )

    def read(self, batches: list[list[Item]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Read batches in order; a pass inside another one has its own workers.

        Raises:
            BadInputError: an image cannot be read; names it.
        """
        if self._reading:
            yield from map(_sound, self._loading(batches, stay=False))
            return
        self._reading, self._asked[:] = True, batches
        try:
            yield from map(_sound, self._loader)
        finally:
            self._reading = False


class _Images(Dataset[tuple[Tensor, int] | BadInputError]):
    """Reads one image, uint8 [3, crop, crop], or returns the error."""

    def __init__(self, split: Files, crop: bool, flip: bool) -> None:
        from torchvision.transforms import v2

        self.split, self.labels = split, split.labels.tolist()
        how = split.preprocessing
        filter_ = v2.InterpolationMode(how.interpolation)
        middle = [v2.Resize(how.resize, filter_), v2.CenterCrop(how.crop)]
        random: list[Any] = [v2.RandomResizedCrop(how.crop, interpolation=filter_)]
        random = random if crop else list(middle)
        random += [v2.RandomHorizontalFlip()] if flip else []
        self.evaluation, self.training = v2.Compose(middle), v2.Compose(random)
        self.to_tensor = v2.functional.pil_to_tensor

    def __getitem__(self, item: Item) -> tuple[Tensor, int] | BadInputError:
        number, seed = item
        try:
            path = self.split.root / self.split.paths[number]
            image = read_image(path, plain=self.split.plain)
        except BadInputError as error:
            return error
        if seed < 0:
            return self.to_tensor(self.evaluation(image)), self.labels[number]
        with torch.random.fork_rng(devices=[]):  # the transforms draw from the global generator
            # Only the CPU's: `torch.manual_seed` would also seed the GPUs', which gates use.
            torch.default_generator.manual_seed(seed)
            return self.to_tensor(self.training(image)), self.labels[number]


def _collated(items: list[tuple[Tensor, int] | BadInputError]) -> Any:
    """Make a batch, or return the first error: raised in a worker, it would become a trace."""
    wrong = next((item for item in items if isinstance(item, BadInputError)), None)
    return wrong or default_collate(items)


def _sound(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, BadInputError):
        raise batch
    images, labels = batch
    return images, labels
