"""Synaptic strength against the original network, finite differences and closed forms."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ssbench.method.contract import module_of, prunable_layers
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS

Strength = discover().methods["synaptic-strength"].cls


class Net(nn.Module):
    """conv - norm - activation - conv (strided) - norm - activation - linear."""

    def __init__(self, activation: nn.Module, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.act = activation
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=groups)
        self.norm2 = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.conv1(x)))
        x = self.pool(self.norm2(self.conv2(x)))
        result: Tensor = self.classifier(x.flatten(1))
        return result


def randomised(model: nn.Module, low: float = 0.3) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(low, 1.7, generator=generator)
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


def strengths(model: nn.Module) -> dict[str, Tensor]:
    names = [layer.name for layer in prunable_layers(model)]
    return {n: model.get_submodule(f"{n}.parametrizations.weight").original1 for n in names}


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.PReLU(), nn.PReLU(8), nn.LeakyReLU(0.1)])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_rewritten_network_is_the_original_one(activation: nn.Module, groups: int) -> None:
    model = randomised(Net(activation, groups))
    images = torch.randn(4, 3, 9, 9)
    before, kernels = model(images), model.conv2.weight.detach().clone()
    first = model.conv1.weight.detach().norm(dim=(2, 3))
    scale = model.norm1.weight.detach().clone()
    Strength().attach(model)
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-5)
    norm1, norm2 = model.norm1, model.norm2
    assert (norm1.weight == 1).all()
    assert not norm1.weight.requires_grad
    assert norm2.weight.requires_grad
    # The first layer reads no batch norm: its strengths are the norms of its kernels.
    torch.testing.assert_close(strengths(model)["conv1"].detach().flatten(1), first)
    found = strengths(model)["conv2"]
    for k in range(8):
        for c in range(8 // groups):
            source = (k // (8 // groups)) * (8 // groups) + c
            expected = float(scale[source]) * float(kernels[k, c].norm())
            assert float(found[k, c].detach()) == pytest.approx(expected, rel=1e-5)


def test_a_negative_scale_keeps_its_sign_and_the_function() -> None:
    model = randomised(Net(nn.ReLU()))
    model.norm1.weight.data[:3] *= -1
    model.norm1.weight.data[4] = 0
    images = torch.randn(4, 3, 9, 9)
    before = model(images)
    Strength().attach(model)
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-5)


def test_no_scale_moves_through_an_activation_that_is_not_homogeneous() -> None:
    model = randomised(Net(nn.SiLU()))
    images, scale = torch.randn(4, 3, 9, 9), model.norm1.weight.detach().clone()
    before = model(images)
    norms = model.conv2.weight.detach().flatten(2).norm(dim=2)
    Strength().attach(model)
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.norm1.weight, scale)
    torch.testing.assert_close(strengths(model)["conv2"].flatten(1), norms)


def test_after_a_residual_sum_the_scale_stays_and_the_strengths_are_the_norms() -> None:
    model = randomised(MODELS["resnet20"](3, 10))
    images = torch.randn(2, 3, 16, 16)
    before = model(images)
    kernels = {layer.name: module_of(model, layer).weight for layer in prunable_layers(model)}
    norms = {n: w.detach().flatten(2).norm(dim=2) for n, w in kernels.items()}
    scales = {n: p.detach().clone() for n, p in model.named_parameters() if "bn2.weight" in n}
    Strength().attach(model)
    torch.testing.assert_close(model(images), before, atol=1e-4, rtol=1e-4)
    for name, scale in scales.items():
        assert torch.equal(model.get_parameter(name), scale)
    found = strengths(model)
    torch.testing.assert_close(found["blocks.1.conv1"].flatten(1), norms["blocks.1.conv1"])
    assert not torch.allclose(found["blocks.1.conv2"].flatten(1), norms["blocks.1.conv2"])


def test_behind_a_concatenation_the_scale_of_the_joint_norm_is_moved() -> None:
    model = randomised(MODELS["densenet40"](3, 10))
    images = torch.randn(2, 3, 16, 16)
    before = model(images)
    moved = {found.norm_before for found in prunable_layers(model) if found.norm_before}
    assert len(moved) >= 38
    Strength().attach(model)
    torch.testing.assert_close(model(images), before, atol=1e-4, rtol=1e-4)
    assert all((model.get_submodule(name).weight == 1).all() for name in moved)


def test_depthwise_and_1x1_kernels_are_connections_too() -> None:
    model = randomised(MODELS["mobilenet"](3, 10))
    images = torch.randn(2, 3, 32, 32)
    before = model(images)
    shapes = {found.weight: found for found in prunable_layers(model)}
    Strength().attach(model)
    torch.testing.assert_close(model(images), before, atol=1e-4, rtol=1e-4)
    for name, score in Strength().scores(model).items():
        found = shapes[name]
        assert score.shape == (found.outputs, found.inputs // found.groups, 1, 1)


def test_gradients_of_the_strengths_match_finite_differences() -> None:
    model = randomised(Net(nn.PReLU())).double()
    Strength().attach(model)
    images = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    parameter = strengths(model)["conv2"]
    loss = model(images).square().sum()
    (gradient,) = torch.autograd.grad(loss, parameter)
    for index in [(0, 0), (3, 5), (7, 2)]:
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter[index] += step
                values.append(float(model(images).square().sum()))
                parameter[index] -= step
        estimate = (values[0] - values[1]) / 2e-6
        assert float(gradient[index]) == pytest.approx(estimate, rel=1e-5, abs=1e-6)


def test_the_penalty_pulls_by_lambda_times_the_sign_on_strengths_alone() -> None:
    model = randomised(Net(nn.ReLU()))
    Strength().attach(model)
    strengths(model)["conv2"].data[0, 0] = -0.5
    penalty = Strength(lambda_=0.01).penalty(model)
    assert penalty is not None
    total = sum(float(s.detach().abs().sum()) for s in strengths(model).values())
    assert float(penalty.detach()) == pytest.approx(0.01 * total, rel=1e-5)
    penalty.backward()
    for strength in strengths(model).values():
        torch.testing.assert_close(strength.grad, 0.01 * strength.detach().sign())
    others = {n: p for n, p in model.named_parameters() if "original1" not in n}
    assert all(p.grad is None for p in others.values())


def test_kernels_keep_unit_norm_while_everything_trains() -> None:
    model = randomised(Net(nn.ReLU())).train()
    Strength().attach(model)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(4, 3, 9, 9)).square().sum().backward()
        optimiser.step()
    for name, strength in strengths(model).items():
        weight = model.get_submodule(name).weight
        norm = weight.detach().flatten(2).norm(dim=2)
        torch.testing.assert_close(norm, strength.detach().flatten(1).abs(), rtol=1e-4, atol=1e-5)


def test_nothing_decays_strengths_or_kernels() -> None:
    model = Net(nn.ReLU())
    Strength().attach(model)
    (group,) = Strength().parameter_groups(model)
    parts = {
        id(p)
        for m in model.modules()
        if parametrize.is_parametrized(m)
        for p in m.parametrizations.parameters()
    }
    assert group.weight_decay == 0
    assert {id(p) for p in group.params} == parts


def test_the_output_layer_is_left_alone_and_a_dead_kernel_survives_the_rewriting() -> None:
    model = Net(nn.ReLU())
    model.conv1.weight.data[0, 0] = 0
    Strength().attach(model)
    assert not parametrize.is_parametrized(model.classifier)
    assert torch.isfinite(model.conv1.weight).all()
    assert (model.conv1.weight[0, 0] == 0).all()
