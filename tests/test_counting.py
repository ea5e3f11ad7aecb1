"""Counts against the literature, against sums by hand, and what must not be counted silently."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

from ssbench.counting import count, nonzero
from ssbench.errors import RunFailedError
from ssbench.models import MODELS


@pytest.mark.parametrize(
    ("name", "params", "connections", "macs"),
    [
        ("vgg19", 20_035_018, 2_224_320, 398.1e6),
        ("vgg16", 14_724_042, 1_634_496, 313.2e6),
    ],
)
def test_the_literature_s_networks(name: str, params: int, connections: int, macs: float) -> None:
    found = count(MODELS[name](3, 10), torch.zeros(1, 3, 32, 32))
    assert (found.params, found.connections) == (params, connections)
    assert found.macs == pytest.approx(macs, rel=2e-4)


@pytest.mark.slow
def test_resnet50() -> None:
    found = count(resnet50(weights=None), torch.zeros(1, 3, 224, 224))
    assert found.params == 25_557_032
    assert found.macs == pytest.approx(4.09e9, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("vgg6", (1, 8)), ("lenet5", (1, 28)), ("resnet20", (3, 32)), ("mobilenet", (3, 32)),
     ("densenet40", (3, 32))],
)  # fmt: skip
def test_multiply_adds_are_those_of_the_formula(name: str, shape: tuple[int, int]) -> None:
    model = MODELS[name](shape[0], 10)
    by_hand = 0

    def add(module: nn.Module, _: object, result: Tensor) -> None:
        nonlocal by_hand
        weights = module.weight.numel()
        by_hand += weights * (result[0, 0].numel() if result.dim() == 4 else 1)

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    example = torch.zeros(1, shape[0], shape[1], shape[1])
    model.eval()(example)
    for module in model.modules():
        module._forward_hooks.clear()
    assert count(model, example).macs == by_hand


@pytest.mark.parametrize("name", ["vgg6", "vgg16", "resnet18", "densenet40", "mobilenet"])
def test_fvcore_and_torch_count_the_same(name: str) -> None:
    channels, size = (1, 8) if name == "vgg6" else (3, 32)
    model = MODELS[name](channels, 10).eval()
    example = torch.zeros(1, channels, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    assert 2 * count(model, example).macs == counter.get_total_flops()


def test_counting_leaves_the_model_as_it_is() -> None:
    model = MODELS["vgg6"](1, 10).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, torch.ones(1, 1, 8, 8))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_nonzero_counts_by_brute_force() -> None:
    model = MODELS["vgg6"](1, 10)
    dense = count(model, torch.zeros(1, 1, 8, 8))
    held = {
        name: torch.rand(p.shape) < 0.2
        for name, p in model.named_parameters()
        if name != "classifier.bias"
    }
    found = nonzero(dense, model, held)
    parameters = dict(model.named_parameters())
    assert found.params == sum(int(mask.sum()) for mask in held.values()) + 10
    sizes = {0: 64, 3: 64, 7: 16, 10: 16, 14: 4, 17: 4}
    macs = sum(int(held[f"features.{i}.weight"].sum()) * size for i, size in sizes.items())
    assert found.macs == macs + int(held["classifier.weight"].sum())
    kernels = [held[f"features.{i}.weight"] for i in sizes]
    assert found.connections == sum(
        bool(mask[k, c].any()) for mask in kernels for k in range(len(mask)) for c in range(
            mask.shape[1])
    )  # fmt: skip
    with pytest.raises(RunFailedError, match="fits no parameter"):
        nonzero(dense, model, {"features.0.weight": torch.ones(3, dtype=torch.bool)})
    assert parameters


class Hidden(nn.Module):
    """Multiplies matrices outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.matrix = nn.Parameter(torch.ones(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x.mean((2, 3))) @ self.matrix
        return result


class Uncalled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x.mean((2, 3)))
        return result


@pytest.mark.parametrize(("model", "name"), [(Hidden(), "matmul"), (Uncalled(), "never")])
def test_what_cannot_be_counted_is_an_error_and_not_a_small_number(
    model: nn.Module, name: str
) -> None:
    with pytest.raises(RunFailedError, match=name):
        count(model, torch.zeros(1, 4, 2, 2))
