"""Counts against the literature, against sums by hand, and what must not be counted silently."""

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model_weights

from ssbench.errors import RunFailedError
from ssbench.models.registry import IMAGENET, MODELS, build
from ssbench.pruning.counting import count, nonzero

PUBLISHED = [
    ("vgg19", 20_035_018, 398.1e6, 1e-3),  # Liu et al. 2017: 20.04 M, 7.97e8 / 2
    ("vgg16", 14_724_042, 313e6, 1e-3),  # Li et al. 2017: 1.5e7, 3.13e8
    ("lenet5", 431_080, 2.293e6, 1e-3),  # LeNet-5-Caffe, 431 k
    ("resnet18", 11.17e6, 0.556e9, 2e-3),
    ("resnet20", 0.27e6, 41e6, 0.02),  # He et al. 2016
    ("resnet56", 0.85e6, 1.25e8, 0.01),  # He et al. 2016; Li et al. 2017
    ("resnet110", 1.72e6, 2.53e8, 0.01),  # Li et al. 2017
    ("resnet164", 1.70e6, 4.99e8 / 2, 0.01),  # Liu et al. 2017
    ("densenet40", 1.06e6, 2.83e8, 2e-3),  # with the first layer's 24 channels; Liu: 1.02 M
    ("wrn28-10", 36.5e6, 5.25e9, 2e-3),  # Zagoruyko and Komodakis 2016
]


@pytest.mark.parametrize(("name", "params", "macs", "tolerance"), PUBLISHED)
def test_the_literature_s_networks(name: str, params: float, macs: float, tolerance: float) -> None:
    model, example = shown(name)
    found = count(model, example)
    assert found.params == pytest.approx(params, rel=tolerance)
    assert found.macs == pytest.approx(macs, rel=tolerance)


def test_a_grouped_convolution_has_kernels_within_its_groups_only() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(128, 3)
    )
    found = count(model, torch.zeros(1, 1, 8, 8))
    assert found.connections == 4 * 1 + 8 * 2
    assert found.macs == 36 * 4 * 9 + 16 * 8 * 2 * 9 + 128 * 3


def test_the_vggs_connections() -> None:
    """Network slimming's networks, whose kernels the literature counts."""
    for name, connections in (("vgg19", 2_224_320), ("vgg16", 1_634_496)):
        assert count(*shown(name)).connections == connections


@pytest.mark.parametrize("name", IMAGENET)
def test_torchvision_s_own_figures(name: str) -> None:
    """It states parameters, and thousand millions of multiply-adds rounded to three places."""
    published = get_model_weights(IMAGENET[name].torchvision).IMAGENET1K_V1.meta
    found = count(build(name, 3, 1000).eval(), torch.zeros(1, 3, 224, 224))
    assert found.params == published["num_params"]
    assert found.macs / 1e9 == pytest.approx(published["_ops"], abs=0.0015)


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


SHAPES = {"vgg6": (1, 8), "lenet5": (1, 28)}


def shown(name: str) -> tuple[nn.Module, Tensor]:
    """A network of the catalogue in eval mode, and an image for it."""
    channels, size = SHAPES.get(name, (3, 32))
    return MODELS[name](channels, 10).eval(), torch.zeros(1, channels, size, size)


@pytest.mark.parametrize("name", MODELS)
def test_fvcore_and_torch_count_the_same(name: str) -> None:
    model, example = shown(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(example)
    assert 2 * count(model, example).macs == counter.get_total_flops()


@pytest.mark.parametrize("name", MODELS)
def test_torch_pruning_counts_biases_activations_norms_and_pooling_besides(name: str) -> None:
    """Its number is ours and these four, to the last operation."""
    model, example = shown(name)
    found = count(model, example)
    besides = 0

    def add(module: nn.Module, _: object, result: Tensor) -> None:
        nonlocal besides
        if isinstance(module, nn.ReLU) or getattr(module, "bias", None) is not None:
            besides += result.numel()

    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(example)
    for module in model.modules():
        module._forward_hooks.clear()
    theirs, params = tp.utils.count_ops_and_params(model, example)
    assert theirs == found.macs + found.norm_ops + found.pool_ops + besides
    assert params == found.params


def test_norms_and_pooling_are_counted_by_element() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 2),
    )  # fmt: skip
    found = count(model, torch.zeros(1, 3, 8, 8))
    assert found.norm_ops == 2 * 4 * 8 * 8
    assert found.pool_ops == 4 * 8 * 8 + 5 * 4 * 4 + 5 * 2 * 2
    assert found.macs == 4 * 3 * 9 * 64 + 5 * 4 * 16 + 5 * 2


def test_norms_of_densenet_are_a_large_part_at_32_times_fewer_multiply_adds() -> None:
    model, example = shown("densenet40")
    found = count(model, example)
    assert found.norm_ops / found.macs == pytest.approx(0.017, abs=5e-4)
    assert found.norm_ops / (found.norm_ops + found.macs / 32) == pytest.approx(0.35, abs=0.01)


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


def test_a_product_outside_of_any_layer_is_counted_and_never_pruned() -> None:
    found = count(Hidden(), torch.zeros(1, 4, 2, 2))
    assert (found.macs, found.layer_macs) == (16 + 16, {"layer": 16})


def test_what_cannot_be_counted_is_an_error_and_not_a_small_number() -> None:
    with pytest.raises(RunFailedError, match="never"):
        count(Uncalled(), torch.zeros(1, 4, 2, 2))
