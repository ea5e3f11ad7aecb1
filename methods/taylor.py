"""Taylor pruning: Molchanov, Mallya, Tyree, Frosio, Kautz, CVPR 2019 (arXiv 1906.10771)."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.method import (
    Batches,
    Grain,
    Layer,
    Method,
    Scores,
    gradients,
    module_of,
    prunable_layers,
    scratch_copy,
    to_grain,
    weights_of,
)


@dataclass(frozen=True, kw_only=True)
class Taylor(Method):
    """Score a unit by the square of how much the loss changes, to first order, without it.

    The authors prune little by little, and score what is left again each time. So does this
    method, in ``rounds`` of one prune stage. They also finetune for some minibatches between two
    steps; here that is a budget's ``passes``. The network is in eval mode.

    Attributes:
        grain: the unit that is kept or pruned (paper: filters).
        criterion: ``gate``, the squared derivative of the loss by a gate that multiplies the
            unit. The gate of a filter stands behind the layer's own batch norm ("gate after BN",
            the paper's best variant) and behind the layer where it has none; the gate of
            a kernel or a weight multiplies it. ``weight``: the sum of (dL/dw * w)^2 over the
            unit's weights, the paper's criterion without gates (method 0 of the authors' code).
        minibatches: the mean is taken over so many (paper: 30 on ImageNet).
        rounds: so often is scored and pruned.
    """

    paper: ClassVar[str] = "Molchanov et al., CVPR 2019"
    limits: ClassVar[dict[str, tuple[float, float, str]]] = {
        "minibatches": (1, 1e6, "scores are a mean over at least one minibatch"),
        "rounds": (1, 1000, "each round scores and prunes the whole network"),
    }
    grain: Grain = "filter"
    criterion: Literal["gate", "weight"] = "gate"
    minibatches: int = 20
    rounds: int = 30

    def scores(self, model: nn.Module, *, batches: Batches | None = None) -> Scores:
        """Average the squared first-order changes over batches; needs ``batches``."""
        if batches is None:
            raise ValueError("Taylor pruning needs training images to score with")
        network = scratch_copy(model, batch_statistics=False)
        gates = _gates(network) if self.grain == "filter" and self.criterion == "gate" else {}
        totals: Scores = {}
        number = 0
        for images, labels in itertools.islice(batches(), self.minibatches):
            if gates:
                squares = _by_gate(network, gates, images, labels)
            else:
                squares = self._by_weight(network, images, labels)
            totals = {name: square + totals.get(name, 0) for name, square in squares.items()}
            number += 1
        return {name: total / number for name, total in totals.items()}

    def _by_weight(self, network: nn.Module, images: Tensor, labels: Tensor) -> Scores:
        """One minibatch's scores from the weights' gradients."""
        weights, found = weights_of(network), {}
        for name, gradient in gradients(network, images, labels).items():
            change = (gradient * weights[name]).detach()
            if self.criterion == "weight":
                found[name] = to_grain(change.square(), self.grain)
            else:
                found[name] = to_grain(change, self.grain).square()
        return found


def _gates(network: nn.Module) -> dict[str, Tensor]:
    """Let a gate [out, 1, ...] of ones multiply each prunable layer's maps; by weight name."""
    gates = {}
    for layer in prunable_layers(network):
        weight = module_of(network, layer).weight
        shape = (layer.outputs, *(1,) * (weight.dim() - 1))
        gates[layer.weight] = weight.new_ones(shape, requires_grad=True)
        site = network.get_submodule(layer.norm_after or layer.name)
        site.register_forward_hook(_multiplied(layer, gates[layer.weight]))
    return gates


def _multiplied(layer: Layer, gate: Tensor) -> Callable[[nn.Module, object, Tensor], Tensor]:
    def hook(site: nn.Module, given: object, maps: Tensor) -> Tensor:
        del site, given
        return maps * gate.reshape(-1, *(1,) * (2 if layer.kind == "conv" else 0))

    return hook


def _by_gate(
    network: nn.Module, gates: Mapping[str, Tensor], images: Tensor, labels: Tensor
) -> Scores:
    """One minibatch's squared derivatives of the loss by each gate."""
    loss = F.cross_entropy(network(images), labels)
    found = torch.autograd.grad(loss, list(gates.values()))
    return {name: gradient.square() for name, gradient in zip(gates, found, strict=True)}
