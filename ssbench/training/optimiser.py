"""The optimiser of a training."""

from __future__ import annotations

import torch
from torch import nn

from ssbench.training.recipe import ParameterGroup, Recipe


def optimiser_groups(
    model: nn.Module, recipe: Recipe, own: list[ParameterGroup]
) -> list[dict[str, object]]:
    """Return the parameter groups for an optimiser of torch; the first has the recipe's settings.

    Args:
        model: the network.
        recipe: learning rate and weight decay.
        own: the parameters with settings of their own.
    """
    taken = {id(parameter) for group in own for parameter in group.params}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    groups: list[dict[str, object]] = [{"params": rest}]
    for group in own:
        decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
        rate = recipe.lr * group.lr_scale
        groups.append({"params": group.params, "weight_decay": decay, "lr": rate})
    return groups


def optimiser(model: nn.Module, recipe: Recipe, own: list[ParameterGroup]) -> torch.optim.Optimizer:
    """Make the recipe's optimiser; ``own`` are the parameters with settings of their own."""
    groups = optimiser_groups(model, recipe, own)
    if recipe.optimizer == "adam":
        on_gpu = next(model.parameters()).device.type == "cuda"
        return torch.optim.Adam(
            groups,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            fused=True,
            capturable=on_gpu,  # keeps the number of the step on the device
        )
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,  # one pass over all parameters
    )
