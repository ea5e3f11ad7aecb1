"""What every method in the registry must do; the suite finds its own subjects."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.method.contract import GRAINS, Method, offer
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.scores import checked
from ssbench.pruning.units import Units

REGISTRY = discover()
INPUTS = {"vgg6": (1, 8), "resnet20": (3, 16), "lenet5": (1, 28), "mobilenet": (3, 32)}
NETWORKS = [name for name in INPUTS if name in MODELS]
CASES = [(method, model) for method in REGISTRY.methods for model in NETWORKS]
TRIED: set[str] = set()

pytestmark = pytest.mark.parametrize(("method_name", "model_name"), CASES)


def images(model_name: str, count: int = 16) -> Tensor:
    channels, size = INPUTS[model_name]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, size, size, generator=generator)


def plain(model_name: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[model_name](INPUTS[model_name][0], 10)
    with torch.no_grad():
        for module in model.modules():  # not the values of initialisation, which hide mistakes
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return model


def attached(method_name: str, model_name: str) -> tuple[Method, nn.Module]:
    method = REGISTRY.methods[method_name].cls()
    model = plain(model_name)
    try:
        offer(method.attach, model)
        scores(method, copy.deepcopy(model), model_name)
    except ValueError as error:  # the method says that it cannot do this network
        pytest.skip(str(error))
    TRIED.add(method_name)
    return method, model


def batches(model_name: str) -> list[tuple[Tensor, Tensor]]:
    return [(images(model_name), torch.arange(16) % 10)]


def train(method: Method, model: nn.Module, model_name: str, steps: int = 3) -> None:
    own = offer(method.parameter_groups, model)
    taken = {id(p) for group in own for p in group.params}
    rest = [p for p in model.parameters() if id(p) not in taken and p.requires_grad]
    groups = [{"params": rest}, *({"params": group.params} for group in own)]
    optimiser = torch.optim.SGD(groups, lr=0.01)
    model.train()
    for step in range(steps):
        batch, labels = batches(model_name)[0]
        loss = F.cross_entropy(model(batch), labels)
        penalty = offer(method.penalty, model, images=1000)
        optimiser.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        optimiser.step()
        method.after_step(model, (step + 1) / steps)


def scores(method: Method, model: nn.Module, model_name: str) -> dict[str, Tensor]:
    torch.manual_seed(7)
    result: dict[str, Tensor] = offer(
        method.scores,
        model,
        images=1000,
        batches=lambda: batches(model_name),
        example=images(model_name)[:1],
    )
    return result


def test_scores_name_weights_and_have_the_declared_grain(method_name: str, model_name: str) -> None:
    method, model = attached(method_name, model_name)
    shapes = {name: p.shape for name, p in plain(model_name).named_parameters()}
    found = scores(method, model, model_name)
    assert method.grain in GRAINS
    assert bool(found) == (method.grain != "none")
    if found:
        structure = structure_of(plain(model_name))
        found = checked(found, structure, shapes, method.grain, method.leaves_out)
        units = Units.of(structure, found, shapes)
        assert units.whole_filters == (method.grain == "filter")
    for name, score in found.items():
        assert not score.requires_grad
        if method.grain == "weight":
            assert score.shape == shapes[name]
        elif method.grain == "connection":
            assert score.shape[:2] == shapes[name][:2]
            assert all(size == 1 for size in score.shape[2:])


def test_detach_gives_back_the_plain_network_with_the_same_function(
    method_name: str, model_name: str
) -> None:
    method, model = attached(method_name, model_name)
    train(method, model, model_name)
    model.eval()
    before = model(images(model_name))
    offer(method.detach, model)
    after = model(images(model_name))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    reference = plain(model_name)
    assert set(model.state_dict()) == set(reference.state_dict())
    assert {type(m) for m in model.modules()} == {type(m) for m in reference.modules()}
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    reference.load_state_dict(model.state_dict())
    torch.testing.assert_close(reference.eval()(images(model_name)), after)


def test_training_moves_what_the_method_added(method_name: str, model_name: str) -> None:
    method, model = attached(method_name, model_name)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(method, model, model_name)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, f"{name} takes no part"
        # A unit kernel of one weight has no direction to learn: its gradient is rounding noise.
        if float(parameter.grad.abs().max()) > 1e-6:
            assert not torch.equal(parameter, before[name]), f"{name} does not train"


def test_the_penalty_is_a_finite_scalar_that_pulls(method_name: str, model_name: str) -> None:
    method, model = attached(method_name, model_name)
    penalty = offer(method.penalty, model, images=1000)
    if penalty is not None:
        assert penalty.shape == ()
        assert torch.isfinite(penalty)
        penalty.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert any(float(gradient.abs().sum()) > 0 for gradient in gradients)


def test_own_parameter_groups_are_parameters_of_the_model_once(
    method_name: str, model_name: str
) -> None:
    method, model = attached(method_name, model_name)
    all_ids = {id(p) for p in model.parameters()}
    own = [id(p) for group in offer(method.parameter_groups, model) for p in group.params]
    assert set(own) <= all_ids
    assert len(own) == len(set(own))


def test_state_is_saved_and_restored_with_the_model(method_name: str, model_name: str) -> None:
    method, model = attached(method_name, model_name)
    train(method, model, model_name)
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again, other = attached(method_name, model_name)
    other.load_state_dict(saved)
    first = scores(method, model.eval(), model_name)
    second = scores(again, other.eval(), model_name)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
    torch.testing.assert_close(other(images(model_name)), model(images(model_name)))


def test_scoring_does_not_change_the_model(method_name: str, model_name: str) -> None:
    method, model = attached(method_name, model_name)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores(method, model.eval(), model_name)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_no_method_was_skipped_on_every_network(method_name: str, model_name: str) -> None:
    if (method_name, model_name) == CASES[-1]:
        for name in REGISTRY.methods:
            for network in NETWORKS:
                if name not in TRIED:
                    method, model = REGISTRY.methods[name].cls(), plain(network)
                    offer(method.attach, model)
                    TRIED.add(name)
        assert set(REGISTRY.methods) == TRIED
        assert REGISTRY.broken == {}
