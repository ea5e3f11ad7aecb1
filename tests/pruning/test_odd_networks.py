"""Networks with splits, slices, group norms and attention: cut and counted, or refused by name."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from ssbench.errors import BadInputError, RunFailedError
from ssbench.pruning.counting import count
from ssbench.pruning.equivalence import compact_certified, noise
from ssbench.pruning.graph.structure import Structure
from ssbench.pruning.plain_weights import check_weights
from ssbench.pruning.surgery import zeroed_parameters

IMAGE = (3, 8, 8)


class Network(nn.Module):
    """A stem, something odd in the middle, and a classifier."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(width, 4)

    def middle(self, maps: Tensor) -> Tensor:
        return maps

    def forward(self, images: Tensor) -> Tensor:
        maps = self.middle(F.relu(self.norm(self.stem(images))))
        result: Tensor = self.last(maps.mean((2, 3)))
        return result


class Grouped(Network):
    """A group norm, and an activation that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.groups = nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8)
        self.act = nn.ReLU(inplace=True)

    def middle(self, maps: Tensor) -> Tensor:
        return self.act(self.groups(self.conv(maps)))  # type: ignore[no-any-return]


class Split(Network):
    """Parts of the channels go different ways, as in Res2Net."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def middle(self, maps: Tensor) -> Tensor:
        first, second = torch.split(maps, 4, 1)
        return torch.cat([first, self.conv(second)], 1)


class Sliced(Network):
    """A sum of some of the channels, as in a dual path network."""

    def __init__(self) -> None:
        super().__init__(12)
        self.conv, self.after = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(12)

    def middle(self, maps: Tensor) -> Tensor:
        new = self.conv(maps)
        residual = maps[:, :4] + new[:, :4]
        return self.after(torch.cat([residual, maps[:, 4:], new[:, 4:]], 1))  # type: ignore[no-any-return]


class Scaleless(Network):
    """A batch norm without scale and shift, which makes -mean/sd of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.plain = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False)
        self.plain.running_mean.normal_()
        self.after = nn.Conv2d(8, 8, 1)

    def middle(self, maps: Tensor) -> Tensor:
        return self.after(F.relu(self.plain(self.conv(maps))))  # type: ignore[no-any-return]


class Attending(Network):
    """Two kinds of attention: torch's module, and products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.qkv = nn.Linear(8, 24)

    def middle(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        q, k, v = self.qkv(tokens).chunk(3, -1)
        tokens = F.scaled_dot_product_attention(q, k, v) + (q @ k.transpose(1, 2)).softmax(-1) @ v
        result: Tensor = tokens.transpose(1, 2).reshape(maps.shape)
        return result


class Unusual(Network):
    """What fvcore does not count or only roughly, and operations that multiply nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(8, 8, 3, padding="same")
        self.register_buffer("filter", torch.ones(8, 1, 3, 3))

    def middle(self, maps: Tensor) -> Tensor:
        maps = self.same(maps)
        gate = torch.einsum("nchw, ncvw -> nchv", maps, maps).mean((2, 3), keepdim=True).ceil()
        maps = torch.addcmul(maps, maps, gate.expand_as(maps)).reshape_as(maps)
        maps = F.pixel_shuffle(F.pixel_unshuffle(maps, 2), 2)
        product = torch.baddbmm(maps.flatten(0, 1), maps.flatten(0, 1), maps.flatten(0, 1))
        return F.conv2d(product.reshape(maps.shape), self.filter, groups=8)


class Counting(Network):
    """Other maps are given the number of channels that these have, as in LambdaNetworks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def middle(self, maps: Tensor) -> Tensor:
        images, channels, height, width = maps.shape
        places_first = self.conv(maps).flatten(2).transpose(1, 2)
        result: Tensor = places_first.transpose(1, 2).reshape(images, channels, height, width)
        return result


class Scaled(Network):
    """A value depends on the number of channels."""

    def middle(self, maps: Tensor) -> Tensor:
        result: Tensor = maps * maps.size(1) ** -0.5
        return result


class Branches(Network):
    """A sum begins with zero, and a difference; a branch is missing, as in MobileOne."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1)

    def middle(self, maps: Tensor) -> Tensor:
        missing = 0
        result: Tensor = missing + self.conv(maps) - self.other(maps) + missing - 0
        return result


CUT = [Grouped, Split, Sliced, Scaleless, Attending, Unusual, Counting, Scaled, Branches]


@pytest.mark.parametrize("kind", CUT, ids=lambda kind: kind.__name__)
def test_surgery_changes_no_output(kind: type[Network]) -> None:
    network = kind().eval()
    network.norm.running_mean.normal_()
    structure, parameters = Structure.of(network), dict(network.named_parameters())
    for seed in range(3):
        torch.manual_seed(seed)
        masks = {}
        for layer in structure.prunable:
            shape = parameters[layer.weight].shape
            masks[layer.weight] = (torch.rand(shape[0], *(1,) * (len(shape) - 1)) < 0.5).expand(
                shape
            )
        for name, mask in zeroed_parameters(structure, network, masks).items():
            parameters[name].data.mul_(mask)
        _, difference = compact_certified(network, structure, masks, noise(IMAGE))
        assert difference < 1e-5


@pytest.mark.parametrize("kind", [Attending, Unusual, Sliced], ids=lambda kind: kind.__name__)
def test_counts_are_those_of_torch(kind: type[Network]) -> None:
    network, example = kind().eval(), torch.zeros(1, *IMAGE)
    found = count(network, example)
    torch.backends.mha.set_fastpath_enabled(False)  # torch counts nothing in it
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(example)
    torch.backends.mha.set_fastpath_enabled(True)
    assert found.macs == counter.get_total_flops() // 2
    assert found.macs >= sum(found.layer_macs.values())


def tied() -> nn.Module:
    network = Split()
    network.same = nn.Conv2d(4, 4, 3)
    network.same.weight = network.conv.weight
    return network


def standardised() -> nn.Module:
    timm = pytest.importorskip("timm")
    network = Network()
    network.stem = timm.layers.ScaledStdConv2d(3, 8, 3, padding=1)
    return network


def normed(how: str) -> nn.Module:
    network = Split()
    getattr(parametrizations, how)(network.conv)
    return network


ODD = {
    "shared": (tied, r"it shares its weight: conv and same"),
    "weight norm": (lambda: normed("weight_norm"), r"^conv \(Parametrized.*\): its weight is comp"),
    "spectral norm": (lambda: normed("spectral_norm"), r"^conv .*: its weight is computed"),
    "standardised": (standardised, r"^stem \(ScaledStdConv2d\): its result is not linear"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_weight_that_no_mask_can_hold_is_refused(case: str) -> None:
    make, words = ODD[case]
    network = make().eval()
    with pytest.raises(RunFailedError, match=words):
        check_weights(network, Structure.of(network))


def test_a_convolution_that_others_derived_is_admitted_where_it_is_linear() -> None:
    timm = pytest.importorskip("timm")
    network = Network()
    network.stem = timm.layers.Conv2dSame(3, 8, 3)
    check_weights(network, Structure.of(network))


class Measured(Network):
    """Asks for sizes that surgery leaves as they are, and gives maps their own channels back."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Conv2d(8, 8, 1)

    def middle(self, maps: Tensor) -> Tensor:
        images, channels, height, width = maps.size()
        pooled = F.avg_pool2d(maps, (height, width)).view(images, channels)
        wide = F.interpolate(self.excite(maps), size=maps.shape[-2:])
        result: Tensor = wide + self.squeeze(pooled).mean() * wide.size(0)
        return result


def test_all_channels_stay_only_where_their_number_is_given_to_others() -> None:
    fixed = {
        kind: bool(structure.channels.fixed[structure.channels.outputs["stem"]].any())
        for kind in (Counting, Scaled, Measured, Branches)
        for structure in [Structure.of(kind())]
    }
    assert fixed == {Counting: True, Scaled: True, Measured: False, Branches: False}
    branches = Structure.of(Branches()).channels
    assert not branches.fixed[branches.outputs["conv"]].any()
    assert torch.equal(branches.outputs["conv"], branches.outputs["other"])
    assert Structure.of(Counting()).channels.why["stem"] == ["reshape"]


class Branching(Network):
    def middle(self, maps: Tensor) -> Tensor:
        return maps if maps.shape[2] == 8 else -maps


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = Branching()

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.inside(images)
        return result


def test_what_cannot_be_traced_is_named_with_its_line() -> None:
    words = (
        r"inside \(Branching\) at `return maps if maps.shape\[2\] == 8.*` \(test_odd_networks.py, "
    )
    with pytest.raises(BadInputError, match=words):
        Structure.of(Around())


def test_an_operator_that_cannot_be_counted_is_named_with_its_module() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(2), nn.LSTM(36, 4))
    with pytest.raises((RunFailedError, BadInputError), match="aten::lstm in 2"):
        count(network, torch.zeros(1, *IMAGE))
