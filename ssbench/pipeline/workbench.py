"""A data set on a device, and what all stages on it share."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.data.batches import Batches
from ssbench.data.dataset import DataSet, Split
from ssbench.data.folder_loader import FolderLoader
from ssbench.data.held_back import HeldBack
from ssbench.data.image_folder import Files
from ssbench.data.loader import Loader
from ssbench.data.preprocessing import Preprocessing
from ssbench.errors import BadInputError, RunFailedError
from ssbench.models.architecture import Architecture, named
from ssbench.models.pretrained import fetch, load
from ssbench.pruning.counting import Counts, count
from ssbench.pruning.equivalence import noise
from ssbench.pruning.graph.structure import structure_of
from ssbench.seeds import derive
from ssbench.training.backward import out_of_memory
from ssbench.training.device import clear_cache, use
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.evaluation import Measured, evaluate
from ssbench.training.recipe import Recipe

EVALUATION_BATCH = 1024
FOLDER_EVALUATION_BATCH = 128
"""For images on disk, and those in memory of more than `MANY_PIXELS`."""
MANY_PIXELS = 96 * 96
CERTIFIED_IMAGES = 32
"""Number of validation images, and of noise images, that every surgery must pass."""


Network = str | Architecture
"""A network by name, or with its arguments and code."""


class ChangedDataError(RunFailedError):
    """A method changed the images, labels or normalisation that all methods share."""


class Workbench:
    """A data set on a device, with what all stages on it share.

    Attributes:
        spread: the processes that train jointly; by default only this one.
    """

    def __init__(
        self, dataset: DataSet, device: torch.device, spread: SingleProcess | None = None
    ) -> None:
        self.dataset, self.device, self.spread = dataset, device, spread or SingleProcess()
        use(device)
        self.normalisation = dataset.normalisation
        self.train, self.validation = (p.to(device) for p in (dataset.train, dataset.validation))
        self.test = dataset.test.to(device)
        self._dense: dict[Architecture, Counts] = {}
        self._versions = self._counted_changes()
        self._checksum = self._summed() if isinstance(self.test, HeldBack) else None
        self._others: dict[Preprocessing, Workbench] = {}

    def fitted(self, how: Preprocessing) -> Workbench:
        """Return the workbench with this preprocessing: this one, or another, made once."""
        dataset = self.dataset.prepared(how)
        if dataset is self.dataset:
            return self
        if how not in self._others:
            self._others[how] = Workbench(dataset, self.device, self.spread)
        return self._others[how]

    @cached_property
    def example(self) -> Tensor:
        """One image of zeros [1, C, H, W]: tracing and counting need its shape."""
        return torch.zeros(1, *self.train.image_shape, device=self.device)

    @cached_property
    def certificate_images(self) -> Tensor:
        """Real and noise images on which networks before and after surgery are compared."""
        real, _ = next(self.loader(self.validation, CERTIFIED_IMAGES).in_order())
        return torch.cat([real, noise(real.shape).to(real.device)])

    def loader(self, split: Split | Files, batch_size: int, **augmentation: Any) -> Batches:
        """Make a loader of normalised batches; by default without augmentation."""
        augmentation = {"shift": 0, "flip": False} | augmentation
        if isinstance(split, Files):
            return FolderLoader(split, self.normalisation, batch_size, **augmentation)
        return Loader(split, self.normalisation, batch_size, **augmentation)

    def augmented(self, recipe: Recipe) -> Batches:
        """Make the loader of a training; the data set's augmentation fills gaps of the recipe."""
        standard = self.dataset.standard
        shift = standard.shift if recipe.shift is None else recipe.shift
        flip = standard.flip if recipe.flip is None else recipe.flip
        share = self.spread.share
        return self.loader(self.train, recipe.batch_size, shift=shift, flip=flip, share=share)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that networks see."""
        _, height, width = self.train.image_shape
        return height, width

    def starting(self, network: Network, seed: int, weights: str) -> nn.Module:
        """Build the network that a run starts with; ``weights`` is an address, or empty."""
        model = self.model(network, seed)
        if weights:
            self.load(model, network, weights)
        return model

    def load(self, model: nn.Module, network: Network, weights: str) -> str:
        """Load first weights into a network, in place.

        Returns:
            The output layer, if it keeps its own weights because the classes are others.

        Raises:
            BadInputError: the file is gone, or holds another network's weights.
        """
        output = next(layer.name for layer in structure_of(model).layers if layer.is_output)
        return output if load(model, network, output, fetch(weights), self.size) else ""

    def model(self, network: Network, seed: int, purpose: str = "initial weights") -> nn.Module:
        """Build a network; its weights depend on seed and purpose only, not on the device."""
        torch.manual_seed(derive(seed, purpose))
        return named(network).build(self.dataset.channels, self.dataset.classes, self.size)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in the fastest memory format for convolutions."""
        model.to(self.device)
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dim() == 4:  # torch has another format for the weights of a Conv3d
                tensor.data = tensor.data.to(memory_format=torch.channels_last)
        return model

    def dense(self, network: Network) -> Counts:
        """Count the unpruned network, once."""
        which = named(network)
        if which not in self._dense:
            try:
                self._dense[which] = count(self.model(which, 0), self.example.cpu())
            except RuntimeError as error:
                size = " x ".join(map(str, self.example.shape[1:]))
                raise BadInputError(
                    f"network {str(which)!r} cannot take the images of {self.dataset.name}, {size} "
                    f"({str(error).splitlines()[0]}); choose another network or data set"
                ) from error
        return self._dense[which]

    def measure(self, model: nn.Module) -> dict[str, Any]:
        """Measure loss and errors on validation and test images.

        Raises:
            ChangedDataError: images, labels or normalisation have changed.
        """
        self.check_data("the method", closely=True)
        record: dict[str, Any] = {}
        with self._test() as test:
            for name, split in (("validation", self.validation), ("test", test)):
                measured = self._evaluated(model, split, evaluation_batch(split))
                record |= {f"{name}_{key}": value for key, value in asdict(measured).items()}
        return record

    @contextmanager
    def _test(self) -> Iterator[Split | Files]:
        """Yield the test images, which a process may hold back until now."""
        if isinstance(self.test, HeldBack):
            with self.test.opened() as split:
                yield split
        else:
            yield self.test

    def check_data(self, what: str, *, closely: bool = False) -> None:
        """Check that nobody wrote to the images, labels and normalisation.

        Args:
            what: the suspect, for the message.
            closely: whether to find also writes that torch does not count (through numpy), by a
                checksum; only in a process that runs a stage of a method from elsewhere.

        Raises:
            ChangedDataError: somebody did.
        """
        same = self._versions == self._counted_changes()
        if same and closely and self._checksum is not None:
            same = self._checksum == self._summed()
        if not same:
            raise ChangedDataError(
                f"{what} changed images, labels or the normalisation in place, which all methods "
                "share; change a copy (clone())"
            )

    def _shared(self) -> list[Tensor]:
        """Return the tensors that all methods of this process train and validate on."""
        parts = [self.train, self.validation]
        images = [part.images for part in parts if isinstance(part, Split)]
        return [*images, *(part.labels for part in parts), *self.normalisation]

    def _counted_changes(self) -> list[int]:
        """Return how many times torch wrote to each shared tensor."""
        return [tensor._version for tensor in self._shared()]

    def _summed(self) -> list[int]:
        """Return a checksum of each shared tensor, at about 1 GB per second."""
        return [zlib.crc32(t.cpu().contiguous().numpy().tobytes()) for t in self._shared()]

    def _evaluated(self, model: nn.Module, split: Split | Files, size: int) -> Measured:
        """Measure in batches of ``size``, or smaller if memory is short, to save the training."""
        while True:
            try:
                return evaluate(model, self.loader(split, size))
            except (RuntimeError, MemoryError) as error:
                if size == 1 or not out_of_memory(error):
                    raise
            clear_cache(self.device)
            size //= 2


def evaluation_batch(split: Split | Files) -> int:
    """Return the number of images per batch of an evaluation."""
    _, height, width = split.image_shape
    large = isinstance(split, Files) or height * width > MANY_PIXELS
    return FOLDER_EVALUATION_BATCH if large else EVALUATION_BATCH
