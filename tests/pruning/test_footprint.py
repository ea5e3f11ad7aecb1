"""Bytes of sparse formats against sizes written out by hand."""

import pytest
import torch
from torch import nn

from ssbench.pruning.footprint import Footprint, footprint


def conv(shape: tuple[int, int, int, int], positions: torch.Tensor) -> nn.Module:
    """One convolution without bias whose weights are 1 at some flat positions."""
    module = nn.Conv2d(shape[1], shape[0], shape[2], bias=False)
    with torch.no_grad():
        module.weight.zero_()
        module.weight.view(-1)[positions] = 1.0
    return module


def test_what_has_no_zeros_is_stored_as_it_is() -> None:
    module = nn.Conv2d(4, 8, 3)
    assert footprint(module) == Footprint(4 * 296, 4 * 296, 0)


@pytest.mark.parametrize(
    ("positions", "values", "index"),
    [
        # 2 of 2,304 weights, in one kernel each: a list of two-byte positions
        (torch.tensor([0, 2303]), 4 * 2, 2 * 2),
        # every second weight of 2,304: a bitmask of 288 bytes
        (torch.arange(0, 2304, 2), 4 * 1152, 288),
        # 10 whole kernels of 256: a list of one-byte positions, smaller than a mask of 32 bytes
        (torch.arange(90), 4 * 90, 10),
        # 100 whole kernels of 256: a bitmask of 32 bytes
        (torch.arange(900), 4 * 900, 32),
        # all but one kernel
        (torch.arange(9, 2304), 4 * 2295, 32),
    ],
)
def test_the_smallest_format_is_taken(positions: torch.Tensor, values: int, index: int) -> None:
    found = footprint(conv((16, 16, 3, 3), positions))
    assert found == Footprint(4 * 2304, values + index, index)


def test_a_large_layer_needs_wider_positions() -> None:
    layer = nn.Linear(300, 300, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[7, 5] = 2.0
    assert footprint(layer) == Footprint(4 * 90_000, 4 + 3, 3)


def test_a_dead_tensor_takes_nothing() -> None:
    assert footprint(conv((16, 16, 3, 3), torch.tensor([], dtype=torch.long))).sparse == 0
