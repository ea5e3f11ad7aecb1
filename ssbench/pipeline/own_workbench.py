"""A user's network and images in the place of a named network and data set."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.data.batches import Batches
from ssbench.data.dataset import DataSet, Split
from ssbench.data.image_folder import Files
from ssbench.errors import BadInputError
from ssbench.pipeline.own_data import LoadedBatches, Streamed, TensorBatches
from ssbench.pipeline.workbench import CERTIFIED_IMAGES, EVALUATION_BATCH, Network, Workbench
from ssbench.pruning.equivalence import noise
from ssbench.training.recipe import Recipe

NAME = "own images"


class OwnWorkbench(Workbench):
    """Stages on a copy of one network, on images that are used as they are.

    Args:
        network: on the CPU; each stage gets a copy.
        train: the training images.
        validation: images to measure errors on; None: errors are not measured.
        classes: the number of logits.
        device: where stages compute.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Split,
        validation: Split | None,
        classes: int,
        device: torch.device,
    ) -> None:
        self.network, self._measures = network, validation is not None
        channels = train.image_shape[0]
        fixed = (torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1))
        held_out = validation or train
        super().__init__(DataSet(NAME, classes, train, held_out, held_out, fixed=fixed), device)

    def small(self) -> OwnWorkbench:
        """Return the same on the CPU, with two images of noise, to try things."""
        classes = self.dataset.classes
        images = noise(self.example.shape, count=2)
        split = Split(images, torch.arange(2) % classes)
        return OwnWorkbench(self.network, split, None, classes, torch.device("cpu"))

    @cached_property
    def certificate_images(self) -> Tensor:
        """Real and noise images on which networks before and after surgery are compared."""
        real, _ = next(self.loader(self.validation, CERTIFIED_IMAGES).in_order())
        real = real[:CERTIFIED_IMAGES]
        return torch.cat([real, noise(real.shape).to(real.device)])

    def loader(self, split: Split | Files, batch_size: int, **augmentation: Any) -> Batches:
        """Make a loader of the images as they are."""
        del augmentation
        assert isinstance(split, Split)
        if isinstance(split, Streamed):
            return LoadedBatches(split, self.device)
        return TensorBatches(split, batch_size)

    def augmented(self, recipe: Recipe) -> Batches:
        """Make the loader of a training."""
        return self.loader(self.train, recipe.batch_size)

    def starting(self, network: Network, seed: int, weights: str) -> nn.Module:
        """Return a copy of the network."""
        del weights
        return self.model(network, seed)

    def model(self, network: Network, seed: int, purpose: str = "initial weights") -> nn.Module:
        """Return a copy of the network."""
        del network, seed, purpose
        return copy.deepcopy(self.network)

    def measure(self, model: nn.Module) -> dict[str, Any]:
        """Measure loss and errors on the validation images, if there are any."""
        self.check_data("the method")
        if not self._measures:
            return {}
        found = self._evaluated(model, self.validation, EVALUATION_BATCH)
        return {"validation_loss": found.loss, "validation_top1_error": found.top1_error}


def own_copy(model: nn.Module) -> nn.Module:
    """Copy a user's network to the CPU.

    Raises:
        BadInputError: it cannot be copied, or is not in single precision.
    """
    try:
        network = copy.deepcopy(model).cpu()
    except Exception as error:  # a network may hold anything
        raise BadInputError(
            f"model: a {type(model).__name__} cannot be copied ({error}); give one that "
            "copy.deepcopy takes"
        ) from error
    odd = {str(p.dtype) for p in network.parameters() if p.dtype != torch.float32}
    if odd or not list(network.parameters()):
        what = f"has parameters of {', '.join(sorted(odd))}" if odd else "has no parameters"
        raise BadInputError(f"model: {what}; give one in single precision, model.float()")
    return network


def classes_of(network: nn.Module, train: Split) -> int:
    """Return the number of logits, by running the network on two images.

    Raises:
        BadInputError: it does not take the images, gives no logits, or a label has no logit.
    """
    images, most = train.images[:2].cpu(), int(train.labels.max())
    try:
        with torch.no_grad():
            logits: Any = copy.deepcopy(network).eval()(images)
    except Exception as error:  # a network may raise anything
        text = " ".join(str(error).split())[:300]
        raise BadInputError(
            f"model: cannot take images of {list(images.shape[1:])}: {type(error).__name__}: {text}"
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise BadInputError(f"model: gives {shape} and not logits, [N, classes]")
    if most >= logits.shape[1] or int(train.labels.min()) < 0:
        raise BadInputError(
            f"labels: {most if most >= logits.shape[1] else int(train.labels.min())} is no class: "
            f"the model has {logits.shape[1]} logits, for 0 to {logits.shape[1] - 1}"
        )
    return logits.shape[1]
