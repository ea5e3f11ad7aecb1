"""The group lasso over kernels: value, gradient, and the zero at zero."""

import pytest
import torch

from ssbench.method.contract import prunable_weights
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS

Lasso = discover().methods["connection-lasso"].cls


def test_the_penalty_is_the_sum_of_kernel_norms_and_pulls_along_the_kernel() -> None:
    model, method = MODELS["vgg6"](1, 10), Lasso(lambda_=0.3)
    with torch.no_grad():
        model.features[3].weight[2, 5] = 0
    penalty = method.penalty(model)
    expected = sum(
        float(w[o, i].square().sum().sqrt())
        for w in prunable_weights(model).values()
        for o in range(w.shape[0])
        for i in range(w.shape[1])
    )
    assert float(penalty.detach()) == pytest.approx(0.3 * expected, rel=1e-5)
    penalty.backward()
    weight = model.features[3].weight
    assert not weight.grad[2, 5].any()
    kernel = weight[1, 1].detach()
    torch.testing.assert_close(weight.grad[1, 1], 0.3 * kernel / kernel.norm())


def test_scores_are_the_norms_and_nothing_else_decays() -> None:
    model, method = MODELS["lenet5"](1, 10), Lasso()
    for name, score in method.scores(model).items():
        weight = model.get_parameter(name).detach()
        if weight.dim() == 4:
            expected = weight.flatten(2).norm(dim=2)[..., None, None]
        else:
            expected = weight.abs()
        torch.testing.assert_close(score, expected)
    (group,) = method.parameter_groups(model)
    assert group.weight_decay == 0
    assert len(group.params) == len(prunable_weights(model))
