"""Surgery: the smaller network computes the same as the masked one, and is as small as can be."""

import pytest
import torch
from torch import Tensor, nn

from ssbench.counting import count
from ssbench.method import structure_of
from ssbench.models import MODELS
from ssbench.surgery import certify, compact, held

NETWORKS = {"vgg6": (1, 8), "lenet5": (1, 28), "resnet20": (3, 16), "mobilenet": (3, 32),
            "densenet40": (3, 16)}  # fmt: skip


def pruned(name: str, grain: str, density: float) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A network with random statistics, random masks, and zeros where these say so."""
    torch.manual_seed(int(1000 * density))
    channels, size = NETWORKS[name]
    model = MODELS[name](channels, 10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.normal_()
            module.bias.data.normal_()
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    masks = {}
    for layer in structure_of(model).prunable:
        shape = model.get_parameter(layer.weight).shape
        ones = (1,) * (len(shape) - 1)
        drawn = (shape[0], *ones) if grain == "filter" else (*shape[:2], *ones[1:])
        masks[layer.weight] = (torch.rand(drawn) < density).expand(shape)
    for key, mask in held(structure_of(model), model, masks).items():
        model.get_parameter(key).data.mul_(mask)
    return model, masks, torch.zeros(1, channels, size, size)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("grain", ["connection", "filter"])
@pytest.mark.parametrize("density", [0.7, 0.3, 0.05, 0.01])
def test_the_smaller_network_is_the_same_function(name: str, grain: str, density: float) -> None:
    model, masks, example = pruned(name, grain, density)
    small = compact(model, structure_of(model), masks, example)
    assert certify(model, small, example.shape) < 1e-5
    images = torch.randn(4, *example.shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(small(images), model(images), atol=1e-4, rtol=1e-4)
    before, after = count(model, example), count(small, example)
    assert after.params <= before.params
    if grain == "filter":
        assert after.params < before.params


def test_the_certificate_fails_where_the_networks_differ() -> None:
    model, masks, example = pruned("vgg6", "filter", 0.3)
    small = compact(model, structure_of(model), masks, example)
    small.features[1].bias.data += 0.1
    assert certify(model, small, example.shape) > 1e-5


def test_vgg_is_cut_to_the_channels_that_live_and_are_needed() -> None:
    model, masks, example = pruned("vgg6", "connection", 0.05)
    small = compact(model, structure_of(model), masks, example)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    kernels = [masks[f"features.{i}.weight"].flatten(2).any(2) for i in (0, 3, 7, 10, 14, 17)]
    alive = [torch.ones(1, dtype=torch.bool)]
    for kernel in kernels:
        alive.append((kernel & alive[-1]).any(1))
    needed = [torch.ones(128, dtype=torch.bool)]
    for kernel in reversed(kernels):
        needed.insert(0, (kernel & needed[0].unsqueeze(1)).any(0))
    widths = [int((a & n).sum()) for a, n in zip(alive, needed, strict=True)][1:]
    found = [m.out_channels for m in small.modules() if isinstance(m, nn.Conv2d)]
    assert found == [max(width, 1) for width in widths]
    assert [m.out_channels for m in convs] == [32, 32, 64, 64, 128, 128]


def test_a_silent_channel_does_not_emit_its_shift() -> None:
    model = MODELS["vgg6"](1, 10).eval()
    model.features[4].bias.data.fill_(3.0)
    masks = {"features.3.weight": torch.ones(32, 32, 3, 3, dtype=torch.bool)}
    masks["features.3.weight"][5] = False
    zeros = held(structure_of(model), model, masks)
    assert set(zeros) == {"features.3.weight", "features.4.weight", "features.4.bias"}
    assert (~zeros["features.4.bias"]).nonzero().flatten().tolist() == [5]
