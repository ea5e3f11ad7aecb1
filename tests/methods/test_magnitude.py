"""Magnitude against torch.nn.utils.prune, and the grains against sums by hand."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from ssbench.method.contract import prunable_weights
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pruning.budget import Budget
from ssbench.pruning.counting import count
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import select
from ssbench.pruning.units import Units

Magnitude = discover().methods["magnitude"].cls


@pytest.mark.parametrize("trial", range(20))
def test_weight_grain_gives_the_masks_of_torch_mask_for_mask(trial: int) -> None:
    torch.manual_seed(trial)
    model = MODELS["vgg6"](1, 10)
    kept = float(torch.empty(1).uniform_(0.01, 0.99))
    weights = prunable_weights(model)
    total = sum(weight.numel() for weight in weights.values())
    dense = count(model, torch.zeros(1, 1, 8, 8))
    units = Units.of(
        structure_of(model),
        Magnitude(grain="weight").scores(model),
        {name: weight.shape for name, weight in weights.items()},
    )
    selection = select(
        units,
        Budget(kept=kept, unit="params"),
        dense,
        lambda masks: sum(int(mask.sum()) for mask in masks.values()) / total,
        None,
    )
    pruned = total - sum(int(mask.sum()) for mask in selection.masks.values())
    modules = [(model.get_submodule(name.removesuffix(".weight")), "weight") for name in weights]
    prune.global_unstructured(modules, pruning_method=prune.L1Unstructured, amount=pruned)
    for (module, _), name in zip(modules, weights, strict=True):
        assert torch.equal(selection.masks[name], module.weight_mask.bool())


def test_grains_are_sums_over_blocks() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Flatten())
    model.append(nn.Linear(4, 2))
    weight = model[0].weight.detach()
    connection = Magnitude(grain="connection").scores(model)["0.weight"]
    by_filter = Magnitude(grain="filter").scores(model)["0.weight"]
    for k in range(3):
        assert float(by_filter[k]) == pytest.approx(float(weight[k].abs().sum()))
        for c in range(2):
            expected = sum(abs(float(w)) for w in weight[k, c].flatten())
            assert float(connection[k, c]) == pytest.approx(expected)


@pytest.mark.parametrize("grain", ["weight", "connection", "filter"])
def test_l2_is_the_euclidean_norm_of_each_unit(grain: str) -> None:
    model = MODELS["vgg6"](1, 10)
    found = Magnitude(grain=grain, norm="l2").scores(model)
    dims = {"weight": (), "connection": (2, 3), "filter": (1, 2, 3)}[grain]
    for name, weight in prunable_weights(model).items():
        expected = (
            torch.linalg.vector_norm(weight, dim=dims, keepdim=True) if dims else weight.abs()
        )
        torch.testing.assert_close(found[name], expected)
