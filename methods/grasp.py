"""GraSP, pruning before training that keeps the gradient's flow: Wang, Zhang, Grosse, ICLR 2020."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ssbench.method import (
    Batches,
    Grain,
    LogUniform,
    Method,
    Scores,
    Search,
    balanced,
    gradients,
    scratch_copy,
    structure_of,
    to_grain,
    weights_of,
)


@dataclass(frozen=True, kw_only=True)
class Grasp(Method):
    """Score a weight of the untrained network by w * (H g).

    Eq. 8 of the paper (arXiv 2002.07376): taking w away changes the squared norm of the gradient g
    by -w * (H g), H being the Hessian, to first order (and a factor of 2). The paper removes the
    weights whose removal leaves most of it; here the highest scores are kept, hence the sign. The
    gradient and the Hessian are by the weights of all convolutions and linear layers, the
    classifier's among them, as in the authors' code; scored are those that may be pruned. A
    kernel or filter gets the sum over its weights, which is what taking it away as a whole
    does to first order.

    Attributes:
        grain: the unit that is kept or pruned.
        images_per_class: the loss is that of one batch with so many images of each class, the
            batch norms using its own statistics.
        temperature: what the logits are divided by (200 as in the authors' experiments).
    """

    paper: ClassVar[str] = "Wang et al., ICLR 2020"
    before_training: ClassVar[bool] = True
    search: ClassVar[Mapping[str, Search]] = {"temperature": LogUniform(1.0, 1e3)}
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "images_per_class": (1, 1e5, "the loss is that of one batch"),
        "temperature": (1e-3, 1e6, "logits are divided by it"),
    }
    grain: Grain = "weight"
    images_per_class: int = 10
    temperature: float = 200.0

    def scores(self, model: nn.Module, *, batches: Batches | None = None) -> Scores:
        """Multiply each weight by its element of H g; needs ``batches``."""
        if batches is None:
            raise ValueError("GraSP needs training images to score with")
        classes = next(layer.outputs for layer in structure_of(model).layers if layer.is_output)
        network = scratch_copy(model, batch_statistics=True)
        images, labels = balanced(batches, self.images_per_class, classes)
        found = gradients(
            network,
            images,
            labels,
            temperature=self.temperature,
            differentiable=True,
            output=True,
        )
        flow = torch.stack([(g.detach() * g).sum() for g in found.values()]).sum()
        weights = weights_of(network)
        products = torch.autograd.grad(flow, list(weights.values()))
        return {
            name: to_grain((product * weight).detach(), self.grain)
            for (name, weight), product in zip(weights.items(), products, strict=True)
        }
