"""Check that a zero in a layer's weight is a zero in the network, as every mask assumes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.structure import Structure

_FORWARD = (nn.Conv2d.forward, nn.Linear.forward)
_SAME = 1e-6
"""Largest relative difference at which a layer counts as linear in its weight."""


def check_weights(network: nn.Module, structure: Structure) -> None:
    """Check that every layer has its own weight and only multiplies with it.

    Raises:
        RunFailedError: names the layer: its weight is computed (weight norm, spectral norm),
            shared with another layer, or rescaled before use.
    """
    owners: dict[int, list[str]] = {}
    for name, module in network.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for layer in structure.weighted:
        module = network.get_submodule(layer.name)
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        where = f"{layer.name} ({type(module).__name__})"
        if weight is None:
            raise RunFailedError(
                f"{where}: its weight is computed from others, as by weight norm or spectral norm"
            )
        if len(owners[id(weight)]) > 1:
            raise RunFailedError(f"it shares its weight: {' and '.join(owners[id(weight)])}")
        if type(module).forward not in _FORWARD and not _is_linear(module, layer):
            raise RunFailedError(
                f"{where}: its result is not linear in its weight, so a weight of zero is not zero "
                "in the network"
            )


def _is_linear(module: nn.Module, layer: Layer) -> bool:
    """Whether f(v + w) + f(0) = f(v) + f(w) for two weights on some input."""
    alone = copy.deepcopy(module).double().eval()
    weight = alone.get_parameter("weight").detach()
    generator = torch.Generator().manual_seed(0)
    sides = [8 * side for side in weight.shape[2:]]
    images = torch.randn(1, layer.inputs, *sides, dtype=torch.double, generator=generator)
    both = torch.randn(2, *weight.shape, dtype=torch.double, generator=generator)

    def call(value: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(alone, {"weight": value}, (images,))
        return result

    with torch.no_grad():
        whole = call(both[0] + both[1]) + call(0 * both[0])
        parts = call(both[0]) + call(both[1])
    return float((whole - parts).abs().max()) <= _SAME * max(1.0, float(parts.abs().max()))
