"""A training step besides the network: it waits for no device, and a penalty is one sum."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ssbench.data.digits import digits
from ssbench.data.loader import Loader, batch_sizes
from ssbench.method.contract import Method, offer, prunable_layers, wants
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pruning.masking import keep_masked
from ssbench.training.loop import Hooks, train
from ssbench.training.precision import products
from ssbench.training.recipe import Precision, Recipe

DATA = digits()
METHODS = discover().methods
IN_TRAINING = [
    name
    for name, file in METHODS.items()
    if file.cls.changes_training() and not wants(file.cls().after_step, "pruning")
]
BY_LAYERS = ("network-slimming", "synaptic-strength", "connection-lasso", "l0")
"""Those whose penalty is written out again below, layer by layer."""


class Waits(TorchDispatchMode):
    """Counts the operations whose result the host has to wait for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        del types
        waiting = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        self.count += func in waiting
        return func(*args, **(kwargs or {}))


def attached(method: Method) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS["vgg6"](1, 10).to(memory_format=torch.channels_last)
    offer(method.attach, model)
    return model.to(memory_format=torch.channels_last)


def waits(name: str, epochs: int, batch_size: int) -> int:
    method = METHODS[name].cls()
    model = attached(method)
    held = {"features.0.weight": torch.ones(32, 1, 3, 3, dtype=torch.bool)}
    keep = keep_masked(model, held)

    def after_step(progress: float) -> None:
        method.after_step(model, progress)
        keep(progress)

    hooks = Hooks(
        offer(method.parameter_groups, model),
        lambda: offer(method.penalty, model, images=1000),
        after_step,
    )
    loader = Loader(DATA.train, DATA.normalisation, batch_size, shift=1, flip=True)
    with Waits() as counted:
        train(
            model,
            Recipe(epochs=epochs, lr=0.01, batch_size=batch_size),
            loader,
            0,
            hooks,
            lambda _: None,
        )
    return int(counted.count)


@pytest.mark.parametrize("name", ["dense", *IN_TRAINING])
def test_no_step_waits_for_the_device(name: str) -> None:
    few, many = waits(name, 1, 500), waits(name, 1, 100)
    assert few == many  # 2 steps, 10 steps
    assert waits(name, 2, 500) - few <= 2  # loss and errors, once per epoch


def grouped(model: nn.Module, penalty: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    value = penalty()
    value.backward()
    return value.detach(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def by_layers(name: str, model: nn.Module, method: Any) -> Tensor:
    """The penalty as its definition says, one layer after the other."""
    total: Tensor = torch.zeros(())
    layers = prunable_layers(model)
    if name == "network-slimming":
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        return torch.stack([method.lambda_ * m.weight.abs().sum() for m in norms]).sum()
    for layer in layers:
        module = model.get_submodule(layer.name)
        if name == "synaptic-strength":
            total = total + method.lambda_ * module.parametrizations.weight.original1.abs().sum()
        elif name == "connection-lasso":
            norms_ = torch.linalg.vector_norm(module.weight, dim=(2, 3))
            total = total + method.lambda_ * norms_.sum()
        else:
            values = torch.cat([module.weight.flatten(1), module.bias[:, None]], 1)
            decay = 0.5 * WEIGHT_DECAY / (1 - method.drop_rate)
            price = method.lambda_ / 1000 * values.shape[1] + decay * values.square().sum(1)
            gate = model.get_submodule(layer.norm_after).gate
            total = total + (gate.probability() * price).sum()
    return total


WEIGHT_DECAY = 1e-2


@pytest.mark.parametrize("name", BY_LAYERS)
def test_a_penalty_over_all_layers_at_once_is_the_sum_over_layers(name: str) -> None:
    method = METHODS[name].cls()
    model = attached(method)
    with torch.no_grad():
        for layer in prunable_layers(model):
            module: Any = model.get_submodule(layer.name)
            if isinstance(module, nn.Conv2d) and name == "connection-lasso":
                module.weight[0] = 0.0  # the sub-gradient there is 0
            if name == "l0" and module.bias is None:
                module.bias = nn.Parameter(torch.randn(layer.outputs))
    facts = {"images": 1000, "weight_decay": WEIGHT_DECAY}
    value, gradients = grouped(model, lambda: offer(method.penalty, model, **facts))
    expected, wanted = grouped(model, lambda: by_layers(name, model, method))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert gradients.keys() == wanted.keys()
    for key, gradient in wanted.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-4, atol=1e-9)


def test_gates_in_parameters_have_the_gradient_of_gates_on_maps() -> None:
    method = METHODS["l0"].cls()
    folded, maps = attached(method), attached(method)
    for layer in prunable_layers(maps):
        norm = maps.get_submodule(layer.norm_after)
        norm._forward_pre_hooks.clear()
        norm.register_forward_hook(lambda site, _, out: out * site.gate().reshape(1, -1, 1, 1))
    images, found = torch.randn(16, 1, 8, 8), []
    for model in (folded, maps):
        torch.manual_seed(3)
        model.train()(images).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in found[1].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-6)


def test_an_interrupted_pass_leaves_no_gated_parameters_behind() -> None:
    method = METHODS["l0"].cls()
    model = attached(method)
    with pytest.raises(RuntimeError):
        model(torch.zeros(4, 7, 8, 8))
    for module in model.modules():
        assert not {"weight", "bias"} & vars(module).keys()


@pytest.mark.parametrize(("count", "size"), [(1000, 64), (129, 64), (1, 64), (64, 64), (65, 64)])
def test_no_batch_has_one_image_unless_there_is_only_one(count: int, size: int) -> None:
    sizes = batch_sizes(count, size)
    assert sum(sizes) == count
    assert count == 1 or min(sizes) > 1
    assert max(sizes) <= size + 1


def test_lower_precision_trains_in_float32_and_ends_with_the_training() -> None:
    kinds = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        model = MODELS["vgg6"](1, 10).to(memory_format=torch.channels_last)
        model.features[0].register_forward_hook(lambda *given: kinds.append(given[2].dtype))
        recipe = Recipe(epochs=1, lr=0.05, precision=precision)
        trained = train(
            model,
            recipe,
            Loader(DATA.train, DATA.normalisation, 64),
            0,
            Hooks(),
            lambda _: None,
        )
        assert trained.loss < 2.3
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert model.eval()(torch.zeros(2, 1, 8, 8)).dtype == torch.float32
    assert set(kinds[: len(kinds) // 2]) == {torch.float32}
    assert torch.bfloat16 in kinds
    assert kinds[-1] == torch.float32


def test_float32_is_not_rounded_to_tf32_and_the_setting_comes_back() -> None:
    backends: Any = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    with products("fp32"):
        assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
        with products("tf32"):
            assert [backend.fp32_precision for backend in backends] == ["tf32", "tf32"]
        assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
    assert [backend.fp32_precision for backend in backends] == before


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_older_switches_of_tf32_can_be_read_and_say_the_same(precision: Precision) -> None:
    """torch's compiler reads them, and so does cuDNN's context manager; torch raises otherwise."""

    def said() -> list[object]:
        older = (torch.backends.cudnn, torch.backends.cuda.matmul)
        return [backend.allow_tf32 for backend in older] + [torch.get_float32_matmul_precision()]

    before, rounds = said(), precision == "tf32"
    with products(precision):
        assert said() == [rounds, rounds, "high" if rounds else "highest"]
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=rounds):
            pass
        assert said() == [rounds, rounds, "high" if rounds else "highest"]
    assert said() == before
