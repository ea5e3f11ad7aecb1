"""L0's gates against sampling and closed forms, its price against a sum by hand."""

import math
import sys
from typing import Any

import pytest
import torch
from torch import nn

from ssbench.data.digits import digits
from ssbench.experiment.stage import Stage
from ssbench.method.contract import Method, offer
from ssbench.method.registry import discover
from ssbench.models.architecture import Architecture
from ssbench.models.registry import MODELS
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.training.recipe import Recipe

FILE = discover().methods["l0"]
L0 = FILE.cls
module = sys.modules[L0.__module__]
DRAWS = 1_000_000


def gate(log_alpha: float, units: int = 1) -> nn.Module:
    made: nn.Module = module.HardConcrete(units, 0.3)
    made.log_alpha.data.fill_(log_alpha)
    return made


@pytest.mark.parametrize("log_alpha", [-3.0, -1.0, 0.0, 0.7, 2.0])
def test_the_probability_of_an_open_gate_matches_a_million_draws(log_alpha: float) -> None:
    drawn = gate(log_alpha, DRAWS).train()().detach()
    expected = float(gate(log_alpha).probability().detach())
    share = float((drawn != 0).double().mean())
    error = math.sqrt(expected * (1 - expected) / DRAWS)
    assert abs(share - expected) < 4 * error
    closed_form = 1 / (1 + math.exp(-(log_alpha - 2 / 3 * math.log(0.1 / 1.1))))
    assert expected == pytest.approx(closed_form, rel=1e-6)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_the_mean_of_the_gates_matches_numerical_integration(log_alpha: float) -> None:
    drawn = gate(log_alpha, DRAWS).train()().detach().double()
    u = (torch.arange(2_000_000, dtype=torch.float64) + 0.5) / 2_000_000
    s = torch.sigmoid((torch.log(u) - torch.log(1 - u) + log_alpha) * 1.5)
    expected = float((s * 1.2 - 0.1).clamp(0, 1).mean())
    error = float(drawn.std()) / math.sqrt(DRAWS)
    assert abs(float(drawn.mean()) - expected) < 4 * error


def test_the_limits_of_the_gates_at_test_time() -> None:
    limit = math.log(11)  # sigmoid(x) * 1.2 - 0.1 is 0 at x = -log 11, 1 at log 11
    assert limit == pytest.approx(2.398, abs=5e-4)
    for log_alpha, expected in ((-limit - 1e-3, 0.0), (limit + 1e-3, 1.0)):
        assert float(gate(log_alpha).eval()().detach()) == expected
    assert 0 < float(gate(-limit + 1e-3).eval()().detach()) < 1e-3
    assert 1 - 1e-3 < float(gate(limit - 1e-3).eval()().detach()) < 1


def test_one_draw_serves_the_whole_minibatch() -> None:
    model = MODELS["vgg6"](1, 10).train()
    L0().attach(model)
    norm = model.features[1]
    drawn: list[torch.Tensor] = []
    norm.gate.register_forward_hook(lambda *given: drawn.append(given[2].detach()))
    maps: list[torch.Tensor] = []
    model.features[0].register_forward_hook(lambda *given: maps.append(given[2].detach()))
    gated: list[torch.Tensor] = []
    norm.register_forward_hook(lambda *given: gated.append(given[2].detach()))
    model(torch.randn(6, 1, 8, 8))
    assert len(drawn) == 1
    plain = nn.functional.batch_norm(maps[0], None, None, training=True)
    expected = plain * drawn[0].reshape(1, -1, 1, 1)
    # The activation behind works in place: compare where it leaves values as they are.
    torch.testing.assert_close(gated[0], expected.relu(), atol=1e-5, rtol=1e-4)


def test_the_price_is_the_sum_by_hand_with_l2_and_lambda_over_n() -> None:
    model = MODELS["lenet5"](1, 10)
    method = L0(lambda_=0.2, weight_decay=0.05, drop_rate=0.4)
    method.attach(model)
    total = 0.0
    for name, inputs in (("conv1", False), ("conv2", False), ("fc1", True), ("fc2", True)):
        layer = model.get_submodule(name)
        weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
        log_alpha = layer.gate.log_alpha.detach().double()
        for index, value in enumerate(log_alpha.tolist()):
            if inputs:
                group = weight[:, index]
            else:
                group = torch.cat([weight[index].flatten(), bias[index : index + 1]])
            probability = 1 / (1 + math.exp(-(value - 2 / 3 * math.log(0.1 / 1.1))))
            total += probability * float((0.2 / 600 + 0.5 * 0.05 * group**2).sum())
    penalty = method.penalty(model, images=600)
    assert float(penalty.detach()) == pytest.approx(total, rel=1e-5)


def test_log_alpha_starts_at_the_drop_rate_and_is_clamped() -> None:
    model = MODELS["vgg6"](1, 10)
    method = L0(drop_rate=0.3)
    method.attach(model)
    gates = [m for m in model.modules() if isinstance(m, module.HardConcrete)]
    values = torch.cat([g.log_alpha.detach() for g in gates])
    assert len(values) == 32 + 32 + 64 + 64 + 128 + 128
    assert float(values.mean()) == pytest.approx(math.log(0.7 / 0.3), abs=0.003)
    assert float(values.std()) == pytest.approx(0.01, rel=0.2)
    for one in gates:
        one.log_alpha.data.mul_(100)
    method.after_step(model, 0.5)
    assert all(float(g.log_alpha.detach().abs().max()) <= 4.6052 for g in gates)


def test_the_optimiser_decays_neither_gates_nor_gated_weights() -> None:
    model = MODELS["lenet5"](1, 10)
    L0().attach(model)
    groups = L0(gate_lr=7.0).parameter_groups(model)
    assert all(group.weight_decay == 0 for group in groups)
    assert groups[0].lr_scale == 7.0
    named = {id(p): name for name, p in model.named_parameters()}
    free = set(named.values()) - {named[id(p)] for g in groups for p in g.params}
    assert free == {"fc1.bias", "fc2.bias"}  # not behind a gate: an input unit has no bias


class TestFaultsOfTheReleasedCode:
    """Each known fault of the released code, and the test that would catch it here."""

    def test_the_bias_is_used_in_training(self) -> None:
        model = MODELS["lenet5"](1, 10).train()
        L0().attach(model)
        torch.manual_seed(1)
        first = model(torch.zeros(2, 1, 28, 28))
        model.conv1.bias.data += 5
        torch.manual_seed(1)
        assert not torch.allclose(model(torch.zeros(2, 1, 28, 28)), first)

    def test_a_larger_bias_costs_more_not_less(self) -> None:
        model = MODELS["lenet5"](1, 10)
        method = L0(weight_decay=1.0)
        method.attach(model)
        before = float(method.penalty(model).detach())
        model.conv1.bias.data += 5
        assert float(method.penalty(model).detach()) > before

    def test_multiply_adds_come_from_the_harness_for_every_method_alike(self) -> None:
        assert not any("flop" in name.lower() or "macs" in name.lower() for name in vars(L0))
        assert "count" not in vars(module)

    def test_the_l2_part_is_not_divided_by_n(self) -> None:
        """The released LeNet-5 is, alone of its networks: its weights hardly decay."""
        model = MODELS["lenet5"](1, 10)
        method = L0(lambda_=0.0, weight_decay=1.0)
        method.attach(model)
        one = float(method.penalty(model, images=1).detach())
        assert one > 0
        assert float(method.penalty(model, images=1000).detach()) == one


def gradient_over_weight(method: Method, name: str, weight: str, decay: float) -> float:
    """By how much of itself the penalty pulls a gated weight whose gate is surely open."""
    torch.manual_seed(0)
    model = MODELS[name](3 if name == "resnet164" else 1, 10)
    method.attach(model)
    for gate in (m for m in model.modules() if isinstance(m, module.HardConcrete)):
        gate.log_alpha.data.fill_(30.0)
    penalty = offer(method.penalty, model, images=50_000, weight_decay=decay)
    penalty.backward()
    parameter = model.get_parameter(weight)
    assert parameter.grad is not None
    ratio = parameter.grad / parameter.detach()
    torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-4, atol=0)
    return float(ratio.flatten()[0])


@pytest.mark.parametrize(
    ("settings", "name", "weight", "expected"),
    [
        # The paper's WRN-28-10, whose blocks ResNet-164 shares: 5e-4 / (1 - 0.3).
        ({"gates": "blocks"}, "resnet164", "blocks.0.branch.0.weight", 7.142857e-4),
        ({}, "vgg6", "features.0.weight", 7.142857e-4),
        ({"drop_rate": 0.5}, "lenet5", "fc1.weight", 1e-3),
        ({"weight_decay": 5e-4, "drop_rate": 0.5}, "lenet5", "conv2.weight", 5e-4),
        # As in the released code for LeNet-5, which does not multiply by N.
        ({"weight_decay": 5e-4 / 60_000}, "lenet5", "conv2.weight", 8.333333e-9),
    ],
)
def test_the_effective_decay_of_a_gated_weight(
    settings: dict[str, Any], name: str, weight: str, expected: float
) -> None:
    found = gradient_over_weight(L0(**settings), name, weight, decay=5e-4)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_gate_that_may_close_decays_its_weights_by_so_much_less() -> None:
    torch.manual_seed(0)
    model = MODELS["vgg6"](1, 10)
    method = L0()
    method.attach(model)
    model.features[1].gate.log_alpha.data.fill_(math.log(0.7 / 0.3))
    offer(method.penalty, model, images=50_000, weight_decay=5e-4).backward()
    weight = model.features[0].weight
    # P(z != 0) at the initial drop rate of 0.3, by hand: sigmoid(0.8473 + 2/3 log 11) = 0.9203.
    torch.testing.assert_close(weight.grad, 0.92027 * 7.142857e-4 * weight, rtol=1e-4, atol=0)


def test_a_training_decays_gated_weights_as_its_recipe_says() -> None:
    workbench = Workbench(digits(), torch.device("cpu"))
    ended = []
    for settings in ({}, {"weight_decay": 0.01 / 0.7}, {"weight_decay": 0.0}):
        recipe = Recipe(epochs=1, batch_size=500, weight_decay=0.01)
        stage = Stage(
            "train", "id", None, "digits", "vgg6", 0, L0(**settings), Architecture("vgg6"), recipe
        )
        ended.append(carry_out(stage, workbench, {}, lambda _: None)[0])
    weights = [tensors["features.0.weight"] for tensors in ended]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_closed_gate_silences_its_map_and_detach_keeps_it_closed() -> None:
    model = MODELS["vgg6"](1, 10).eval()
    L0().attach(model)
    norm = model.features[1]
    norm.gate.log_alpha.data[:5] = -4
    norm.bias.data.fill_(1.0)
    L0().detach(model)
    assert (norm.weight[:5] == 0).all()
    assert (norm.bias[:5] == 0).all()
    assert (norm.weight[5:] != 0).all()


def test_in_blocks_only_the_first_convolution_of_each_has_a_gate() -> None:
    """As in section 4.2 of the paper for WRN-28-10."""
    with torch.device("meta"):
        model = MODELS["wrn28-10"](3, 10)
    L0(gates="blocks").attach(model)
    assert [layer.name for layer in module._gated(model)] == [
        f"blocks.{number}.branch.0" for number in range(12)
    ]


def test_a_network_without_batch_norms_has_no_blocks_to_gate() -> None:
    with pytest.raises(ValueError, match="take gates = 'all'"):
        L0(gates="blocks").attach(MODELS["lenet5"](1, 10))
