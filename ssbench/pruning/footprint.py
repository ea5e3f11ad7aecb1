"""How many bytes a network's parameters take, dense and in the best sparse format.

Counted is what a file has to hold: four bytes for every value that is stored, and the index that
says which these are. Headers of a few bytes per tensor and running statistics (which inference
folds into the convolution) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

VALUE = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of all parameters of a network."""

    dense: int
    """Every value stored."""
    sparse: int
    """Each tensor in the format that is smallest for it, its index included."""
    index: int
    """The part of ``sparse`` that is index and not value."""


def footprint(model: nn.Module) -> Footprint:
    """Measure the parameters of a network by their zeros.

    For each tensor the smallest is taken of: all values; a bitmask, one bit per weight; a list of
    positions of the nonzero weights, in as many whole bytes as the largest position needs; and,
    for convolutions, bitmask and list over the 2-D kernels that are not all zero, which are then
    stored in whole.
    """
    sizes = [_smallest(parameter.detach()) for parameter in model.parameters()]
    return Footprint(
        dense=VALUE * sum(parameter.numel() for parameter in model.parameters()),
        sparse=sum(values + index for values, index in sizes),
        index=sum(index for _, index in sizes),
    )


def _smallest(tensor: Tensor) -> tuple[int, int]:
    """Bytes of values and of index in the best format; of equals the one with less index."""
    sizes = [(VALUE * tensor.numel(), 0), *_indexed(tensor != 0, VALUE)]
    if tensor.dim() == 4:
        kernels = (tensor != 0).flatten(2).any(2)
        sizes += _indexed(kernels, VALUE * tensor[0, 0].numel())
    return min(sizes, key=lambda size: (sum(size), size[1]))


def _indexed(stored: Tensor, each: int) -> list[tuple[int, int]]:
    """Bytes of values and of index with a bitmask, and with a list of positions."""
    count = int(torch.count_nonzero(stored))
    width = -(-max(stored.numel() - 1, 1).bit_length() // 8)
    return [(each * count, -(-stored.numel() // 8)), (each * count, width * count)]
