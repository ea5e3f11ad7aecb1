"""Attention: its products are counted, its linear layers can lose weights, its heads stay."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssbench.errors import RunFailedError
from ssbench.method.contract import to_grain
from ssbench.models.registry import build
from ssbench.pruning.counting import count, nonzero
from ssbench.pruning.equivalence import compact_certified
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.plain_weights import check_weights
from ssbench.pruning.surgery import zeroed_parameters
from ssbench.pruning.units import Units
from ssbench.pruning.untouched import ATTENTION, IN_ONE, untouched


class Attention(nn.Module):
    """Self-attention over the places of a map, computed in one of several ways."""

    def __init__(self, how: str, width: int = 8) -> None:
        super().__init__()
        self.how = how
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)
        if how == "torch":
            self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        else:
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 12), nn.Linear(12, width)
        self.head = nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        tokens = tokens + self._attended(self.norm(tokens))
        tokens = tokens + self.fc2(torch.relu(self.fc1(tokens)))
        logits: Tensor = self.head(tokens.mean(1))
        return logits

    def _attended(self, tokens: Tensor) -> Tensor:
        if self.how == "torch":
            result: Tensor = self.attend(tokens, tokens, tokens, need_weights=False)[0]
            return result
        if self.how == "function":
            mixed = F.linear(tokens, self.qkv.weight, self.qkv.bias)
        else:
            mixed = self.qkv(tokens)
        q, k, v = mixed.unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.how == "matmul":
            result = torch.softmax((q * 0.5) @ k.transpose(2, 3), -1) @ v
        else:
            result = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(result.transpose(1, 2).flatten(2))
        return projected


WAYS = ("matmul", "scaled", "function", "torch")


def torch_macs(network: nn.Module, example: Tensor) -> int:
    """Half of the operations that torch counts."""
    counter = FlopCounterMode(display=False)
    torch.backends.mha.set_fastpath_enabled(False)  # torch counts nothing in it
    try:
        with torch.no_grad(), counter:
            network.eval()(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("how", WAYS)
def test_products_are_counted_as_torch_counts_them(how: str) -> None:
    network, example = Attention(how).eval(), torch.zeros(1, 3, 16, 16)
    assert count(network, example).macs == torch_macs(network, example)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("torchvision:swin_t", 32), ("torchvision:swin_v2_t", 64),
        ("timm:vit_tiny_patch16_224", 32), ("timm:deit_tiny_patch16_224", 64),
        ("timm:beit_base_patch16_224(depth=2)", 32), ("timm:mixer_s32_224", 64),
    ],
)  # fmt: skip
def test_products_of_known_transformers(name: str, pixels: int) -> None:
    pytest.importorskip("timm")
    name, _, depth = name.partition("(depth=")
    arguments = {"depth": int(depth[:-1])} if depth else {}
    network = build(name, 3, 10, size=(pixels, pixels), arguments=arguments).eval()
    example = torch.zeros(1, 3, pixels, pixels)
    assert count(network, example).macs == torch_macs(network, example)


@pytest.mark.parametrize("how", WAYS)
def test_linear_layers_of_attention_lose_weights_and_surgery_is_certified(how: str) -> None:
    network = Attention(how).eval()
    structure, example = structure_of(network), torch.zeros(1, 3, 16, 16)
    check_weights(network, structure)
    names = {layer.name for layer in structure.prunable}
    wanted = {"attend.out_proj"} if how == "torch" else {"qkv", "proj"}
    assert names == {"stem", "fc1", "fc2", *wanted}

    dense, parameters = count(network, example), dict(network.named_parameters())
    masks = {
        layer.weight: torch.rand_like(parameters[layer.weight]) < 0.5
        for layer in structure.prunable
    }
    held = zeroed_parameters(structure, network, masks)
    with torch.no_grad():
        for name, mask in held.items():
            parameters[name].mul_(mask)
    _, difference = compact_certified(network, structure, masks, torch.randn(4, 3, 16, 16))
    assert difference < 1e-5
    left = nonzero(dense, network, held)
    uses = {layer.weight: dense.layer_macs[layer.name] for layer in structure.weighted}
    gone = sum(
        uses[name] * int((~mask).sum()) // mask.numel()
        for name, mask in held.items()
        if name in uses
    )
    assert left.macs == dense.macs - gone


@pytest.mark.parametrize("how", WAYS)
def test_heads_stay_and_units_between_go_at_filter_grain(how: str) -> None:
    network = Attention(how).eval()
    structure = structure_of(network)
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    ones = {
        layer.weight: to_grain(torch.ones(shapes[layer.weight]), "filter")
        for layer in structure.prunable
    }
    dense = count(network, torch.zeros(1, 3, 16, 16))
    found = untouched(Units.of(structure, ones, shapes), dense)
    attending = ["attend.out_proj"] if how == "torch" else ["proj", "qkv"]
    assert sorted(n for n, why in found.layers.items() if why == ATTENTION) == attending
    assert "fc1" not in found.layers
    assert (found.layers.get("attend.in_proj_weight") == IN_ONE) == (how == "torch")
    if how == "torch":  # queries, keys and values of 16 places
        assert dense.apart == {"attend.in_proj_weight": 16 * 3 * 8 * 8}
    assert "attention heads stay whole" in str(found)


class Rescaled(nn.Module):
    """A function that does more with a weight than multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(48, 8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(_normed(images, self.fc.weight))
        return logits


def _normed(images: Tensor, weight: Tensor) -> Tensor:
    return F.linear(images.flatten(1), weight / weight.norm())


torch.fx.wrap("_normed")


def test_a_weight_that_a_function_rescales_is_refused() -> None:
    with pytest.raises(RunFailedError, match="fc cannot be counted: _normed does not simply"):
        count(Rescaled().eval(), torch.zeros(1, 3, 4, 4))
