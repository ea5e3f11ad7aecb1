"""SNIP, single-shot pruning before training: Lee, Ajanthan, Torr, ICLR 2019 (arXiv 1810.02340)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ssbench.method import (
    Batches,
    Grain,
    Method,
    Scores,
    balanced,
    gradients,
    scratch_copy,
    structure_of,
    to_grain,
    weights_of,
)


@dataclass(frozen=True, kw_only=True)
class Snip(Method):
    """Score a weight of the untrained network by how much the loss would feel its absence.

    The paper's |w * dL/dw|, without the division by the sum, which changes no order. A
    kernel or filter gets the sum over its weights: a decision of this project.

    Attributes:
        grain: the unit that is kept or pruned.
        images_per_class: the loss is that of one batch with so many images of each class (the
            paper's batch of 100 for ten classes), the batch norms using its own statistics.
    """

    paper: ClassVar[str] = "Lee et al., ICLR 2019"
    before_training: ClassVar[bool] = True
    limits: ClassVar[dict[str, tuple[float, float, str]]] = {
        "images_per_class": (1, 1e5, "the loss is that of one batch"),
    }
    grain: Grain = "weight"
    images_per_class: int = 10

    def scores(self, model: nn.Module, *, batches: Batches | None = None) -> Scores:
        """Multiply each weight by its gradient; needs ``batches``."""
        if batches is None:
            raise ValueError("SNIP needs training images to score with")
        classes = next(layer.outputs for layer in structure_of(model).layers if layer.is_output)
        network = scratch_copy(model, batch_statistics=True)
        found = gradients(network, *balanced(batches, self.images_per_class, classes))
        weights = weights_of(network)
        return {
            name: to_grain((gradient * weights[name]).detach().abs(), self.grain)
            for name, gradient in found.items()
        }
