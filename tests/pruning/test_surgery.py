"""Surgery: the smaller network computes the same as the masked one, and is as small as can be."""

import pytest
import torch
from torch import Tensor, nn

from ssbench.errors import RunFailedError
from ssbench.models.registry import MODELS
from ssbench.pruning.counting import count
from ssbench.pruning.equivalence import certify, compact_certified, noise
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.surgery import compact, zeroed_parameters

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
    for key, mask in zeroed_parameters(structure_of(model), model, masks).items():
        model.get_parameter(key).data.mul_(mask)
    return model, masks, torch.zeros(1, channels, size, size)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("grain", ["connection", "filter"])
@pytest.mark.parametrize("density", [0.7, 0.3, 0.05, 0.01])
def test_the_smaller_network_is_the_same_function(name: str, grain: str, density: float) -> None:
    model, masks, example = pruned(name, grain, density)
    small = compact(model, structure_of(model), masks)
    assert certify(model, small, noise(example.shape)) < 1e-10
    images = torch.randn(4, *example.shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(small(images), model(images), atol=1e-4, rtol=1e-4)
    before, after = count(model, example), count(small, example)
    assert after.params <= before.params
    if grain == "filter":
        assert after.params < before.params


def test_a_module_that_cannot_be_run_after_surgery_is_named() -> None:
    model, masks, example = pruned("vgg6", "filter", 0.3)
    small = compact(model, structure_of(model), masks)
    small.get_submodule("features").register_module("3", torch.nn.Conv2d(5, 5, 3))
    with pytest.raises(RunFailedError, match=r"features.3 \(Conv2d\): Given groups=1"):
        certify(model, small, noise(example.shape))


def test_the_certificate_fails_where_the_networks_differ() -> None:
    model, masks, example = pruned("vgg6", "filter", 0.3)
    small = compact(model, structure_of(model), masks)
    small.features[1].bias.data += 0.1
    assert certify(model, small, noise(example.shape)) > 1e-5
    masks["features.0.weight"] = torch.zeros(32, 1, 3, 3, dtype=torch.bool)
    with pytest.raises(RunFailedError, match="surgery changed the outputs of VGG by"):
        compact_certified(model, structure_of(model), masks, noise(example.shape))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_which_a_whole_layer_has_died(name: str) -> None:
    model, masks, example = pruned(name, "connection", 0.7)
    layers = structure_of(model).prunable
    dead = layers[len(layers) // 2].weight
    masks[dead] = torch.zeros_like(masks[dead])
    for key, mask in zeroed_parameters(structure_of(model), model, masks).items():
        model.get_parameter(key).data.mul_(mask)
    small = compact(model, structure_of(model), masks)
    assert certify(model, small, noise(example.shape)) < 1e-10
    before, after = count(model, example), count(small, example)
    assert after.macs < before.macs
    with torch.no_grad():
        spread = small(noise(example.shape)).std(0).max()
    # A chain is cut by it and answers everything alike; shortcuts and concatenations lead around.
    assert (float(spread) < 1e-6) == (name in ("vgg6", "lenet5", "mobilenet"))


class Shifted(nn.Module):
    """A channel without incoming weights still emits a constant here: sigmoid(0) = 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, stride=2)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.sigmoid(self.bn(self.first(images)))
        result: Tensor = self.head(torch.relu(self.second(maps)).mean((2, 3)))
        return result


def test_a_constant_that_a_dead_channel_emits_is_kept_borders_included() -> None:
    model = Shifted().eval()
    masks = {"first.weight": torch.ones(8, 3, 3, 3, dtype=torch.bool)}
    masks["first.weight"][:5] = False
    structure = structure_of(model)
    for key, mask in zeroed_parameters(structure, model, masks).items():
        model.get_parameter(key).data.mul_(mask)
    small = compact(model, structure, masks)
    assert certify(model, small, noise((3, 9, 9))) < 1e-10
    # With padding the constant's share of the next map is smaller along the border, so that no
    # bias can stand for it: the channels have to stay.
    assert small.first.out_channels == 8
    constant = model.second(torch.full((1, 8, 9, 9), 0.5))[0].detach()
    assert float((constant[:, 0, 0] - constant[:, 2, 2]).abs().max()) > 1e-3


def test_vgg_is_cut_to_the_channels_that_live_and_are_needed() -> None:
    model, masks, _ = pruned("vgg6", "connection", 0.05)
    small = compact(model, structure_of(model), masks)
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
    zeros = zeroed_parameters(structure_of(model), model, masks)
    assert set(zeros) == {"features.3.weight", "features.4.weight", "features.4.bias"}
    assert (~zeros["features.4.bias"]).nonzero().flatten().tolist() == [5]


class Gated(nn.Module):
    """Two branches multiplied: a channel is silent as soon as one of them is."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.left(images) * self.right(images)
        result: Tensor = self.head(torch.relu(self.last(maps)).mean((2, 3)))
        return result


class ImageShortcut(nn.Module):
    """The image itself is added: its channels stay, and so do those tied to them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.last(images + self.first(images)))
        result: Tensor = self.head(maps.mean((2, 3)))
        return result


def cut_filters(model: nn.Module, layer: str, dead: list[int]) -> nn.Module:
    """Prune some filters of one layer, and certify what surgery leaves."""
    structure = structure_of(model.eval())
    weight = f"{layer}.weight"
    masks = {weight: torch.ones(model.get_parameter(weight).shape, dtype=torch.bool)}
    masks[weight][dead] = False
    with torch.no_grad():
        for key, mask in zeroed_parameters(structure, model, masks).items():
            model.get_parameter(key).mul_(mask)
    small = compact(model, structure, masks)
    assert certify(model, small, noise((3, 7, 7))) < 1e-10
    return small


def test_a_product_is_silent_where_one_factor_is() -> None:
    model = Gated()
    structure = structure_of(model)
    masks = {"left.weight": torch.ones(6, 3, 3, 3, dtype=torch.bool)}
    masks["left.weight"][:2] = False
    assert structure.flow(masks).read["last"].tolist() == [False, False, True, True, True, True]
    small = cut_filters(model, "left", [0, 1])
    widths = (small.left.out_channels, small.right.out_channels, small.last.in_channels)
    assert widths == (4, 4, 4)


def test_channels_tied_to_the_image_stay() -> None:
    small = cut_filters(ImageShortcut(), "first", [1])
    assert (small.first.out_channels, small.last.in_channels) == (3, 3)
