"""Network slimming against numpy's order statistics and hand-written gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from ssbench.counting import count
from ssbench.method import structure_of
from ssbench.models import MODELS
from ssbench.registry import discover
from ssbench.sparsity import Budget, select
from ssbench.sparsity.units import Units

DENSE = count(MODELS["vgg6"](1, 10), torch.zeros(1, 1, 8, 8))
Slimming = discover().methods["network-slimming"].cls


def random_scales() -> nn.Module:
    model = MODELS["vgg6"](1, 10)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_()
    return model


def scales(model: nn.Module) -> np.ndarray:
    found = [m.weight.detach() for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    return torch.cat(found).abs().numpy()


def test_scales_start_at_one_half() -> None:
    model = random_scales()
    Slimming().attach(model)
    assert (scales(model) == 0.5).all()


@pytest.mark.parametrize("pruned", [0.1, 0.4, 0.7])
def test_the_threshold_is_the_percentile_over_all_scales(pruned: float) -> None:
    model = random_scales()
    values = np.sort(scales(model))
    gone = int(pruned * len(values))
    shapes = {name: p.shape for name, p in model.named_parameters()}
    units = Units.of(structure_of(model), Slimming().scores(model), shapes)
    selection = select(
        units, Budget(kept="own"), DENSE, lambda _: 0.0, float(values[gone - 1])
    )
    assert selection.threshold == pytest.approx(float(values[gone - 1]))
    order = np.sort(units.values.numpy())
    assert (order == values).all()
    kept = sum(
        int(mask.flatten(1).any(1).sum())
        for name, mask in selection.masks.items()
        if name in units.scores
    )
    assert kept <= len(values) - gone
    assert (units.values > selection.threshold).sum() == len(values) - gone


def test_the_penalty_is_the_l1_norm_and_its_sub_gradient_the_sign() -> None:
    model = random_scales()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        norms[0].weight[0] = 0.0
    penalty = Slimming(lambda_=0.03).penalty(model)
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(
        0.03 * float(np.abs(scales(model)).sum()), rel=1e-5
    )
    penalty.backward()
    for norm in norms:
        torch.testing.assert_close(norm.weight.grad, 0.03 * norm.weight.detach().sign())


def test_a_network_without_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="batch norm"):
        Slimming().attach(MODELS["lenet5"](1, 10))
