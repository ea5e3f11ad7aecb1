"""Score filters by torch-pruning's importances, which consider everything pruned with a filter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ssbench.pruning.dependency_graph import dependencies
from ssbench.pruning.graph.structure import structure_of


def group_importance(
    model: nn.Module, importance: Callable[[Any], Tensor | None], example: Tensor | None
) -> dict[str, Tensor]:
    """Score the filters of every prunable layer.

    Args:
        model: the network; not changed.
        importance: takes one of torch-pruning's groups, returns one value per filter [out] of the
            group's first layer, or None.
        example: one image [1, C, H, W].

    Returns:
        By weight name, scores [out, 1, 1, 1] (linear layers: [out, 1]).

    Raises:
        ValueError: there is no example, or a layer has no importance.
    """
    if example is None:
        raise ValueError("torch-pruning's importances need the shape of an image")
    network = copy.deepcopy(model).eval().requires_grad_(True)
    structure = structure_of(model)
    graph = dependencies(network, structure, example)
    scores = {}
    for layer in structure.layers:
        if layer.is_output:
            continue
        module = network.get_submodule(layer.name)
        prune = graph.get_pruner_of_module(module).prune_out_channels
        group = graph.get_pruning_group(module, prune, list(range(layer.outputs)))
        values = importance(group)
        if values is None:
            raise ValueError(f"torch-pruning gives no importance for the filters of {layer.name}")
        weight = network.get_parameter(layer.weight)
        scores[layer.weight] = values.detach().reshape(-1, *(1,) * (weight.dim() - 1))
    return scores
