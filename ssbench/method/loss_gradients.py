"""Gradients of the loss by the weights, for criteria that need data; the network stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssbench.pruning.graph.structure import structure_of

Pairs = Iterable[tuple[Tensor, Tensor]]


def scratch_copy(model: nn.Module, *, batch_statistics: bool) -> nn.Module:
    """Copy a network for scoring: in eval mode, all parameters with gradients.

    Args:
        model: left as it is.
        batch_statistics: whether batch norms use those of the batch, as an untrained network
            needs, whose running ones are still 0 and 1. Dropout is off in any case.
    """
    network = copy.deepcopy(model).eval().requires_grad_(True)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
    return network


def weights_of(network: nn.Module, *, output: bool = False) -> dict[str, Tensor]:
    """The weights of every prunable layer, by name, attached to the graph of gradients.

    Args:
        network: see `scratch_copy`.
        output: whether the output layer's weight is among them, though it is never pruned.
    """
    structure = structure_of(network)
    layers = structure.layers if output else structure.prunable
    return {layer.weight: network.get_parameter(layer.weight) for layer in layers}


def balanced(batches: Callable[[], Pairs], per_class: int, classes: int) -> tuple[Tensor, Tensor]:
    """Take the first images of each class.

    Args:
        batches: each call passes once over images [N, C, H, W] and labels [N].
        per_class: so many of each; fewer where there are no more.
        classes: their number.

    Returns:
        Images [at most per_class x classes, C, H, W] and labels.
    """
    found: list[list[Tensor]] = [[] for _ in range(classes)]
    for images, labels in batches():
        for image, label in zip(images, labels.tolist(), strict=True):
            if len(found[label]) < per_class:
                found[label].append(image)
        if all(len(some) == per_class for some in found):
            break
    numbers = [label for label, some in enumerate(found) for _ in some]
    images = torch.stack([image for some in found for image in some])
    return images, torch.tensor(numbers, device=images.device)


def gradients(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    differentiable: bool = False,
    output: bool = False,
) -> dict[str, Tensor]:
    """The mean cross-entropy's gradients by the prunable weights.

    Args:
        network: see `scratch_copy`.
        images: [N, C, H, W].
        labels: [N].
        temperature: what the logits are divided by.
        differentiable: whether the gradients have gradients themselves; that takes more memory than
            a training step.
        output: whether the gradient by the output layer's weight is wanted, too.
    """
    weights = weights_of(network, output=output)
    loss = F.cross_entropy(network(images) / temperature, labels)
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=differentiable)
    return dict(zip(weights, found, strict=True))
