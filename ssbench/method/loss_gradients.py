"""Gradients of the loss by the weights, for criteria that need data; they change no network."""

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
        model: not changed.
        batch_statistics: whether batch norms use the batch's statistics; an untrained network needs
            that, as its running ones are still 0 and 1. Dropout is always off.
    """
    network = copy.deepcopy(model).eval().requires_grad_(True)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
    return network


def weights_of(network: nn.Module, *, output: bool = False) -> dict[str, Tensor]:
    """Return the weights of every prunable layer by name, with their autograd graph.

    Args:
        network: see `scratch_copy`.
        output: whether to include the output layer's weight, which is never pruned.
    """
    structure = structure_of(network)
    layers = structure.layers if output else structure.prunable
    return {layer.weight: network.get_parameter(layer.weight) for layer in layers}


def balanced(batches: Callable[[], Pairs], per_class: int, classes: int) -> tuple[Tensor, Tensor]:
    """Take the first images of each class.

    Args:
        batches: each call passes once over images [N, C, H, W] and labels [N].
        per_class: number of images per class; fewer if a class has fewer.
        classes: number of classes.

    Returns:
        Images [at most per_class x classes, C, H, W] and labels.
    """
    chosen: list[list[Tensor]] = [[] for _ in range(classes)]
    for images, labels in batches():
        for image, label in zip(images, labels.tolist(), strict=True):
            if len(chosen[label]) < per_class:
                chosen[label].append(image)
        if all(len(some) == per_class for some in chosen):
            break
    numbers = [label for label, some in enumerate(chosen) for _ in some]
    images = torch.stack([image for some in chosen for image in some])
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
    """Return the gradients of the mean cross-entropy by the prunable weights.

    Args:
        network: see `scratch_copy`.
        images: [N, C, H, W].
        labels: [N].
        temperature: divisor of the logits.
        differentiable: whether the gradients can be differentiated again; that takes more memory
            than a training step.
        output: whether to include the gradient by the output layer's weight.
    """
    weights = weights_of(network, output=output)
    loss = F.cross_entropy(network(images) / temperature, labels)
    values = torch.autograd.grad(loss, list(weights.values()), create_graph=differentiable)
    return dict(zip(weights, values, strict=True))
