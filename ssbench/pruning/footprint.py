"""Bytes of a network's parameters, dense and in the best sparse format.

Counts what a file must hold: four bytes for every stored value, and the index of stored values.
Leaves out headers (a few bytes per tensor) and running statistics (inference folds them into the
convolution).
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
    """Each tensor in its smallest format, including the index."""
    index: int
    """The index's part of ``sparse``."""


def footprint(model: nn.Module) -> Footprint:
    """Measure the parameters of a network, with and without their zeros.

    Takes the smallest format for each tensor: all values; a bitmask, one bit per weight; a list of
    the positions of nonzero weights, in as many whole bytes as the largest position needs; and,
    for convolutions, a bitmask or list over the 2-D kernels that are not all zero, which are then
    stored whole.
    """
    sizes = [_smallest(parameter.detach()) for parameter in model.parameters()]
    return Footprint(
        dense=VALUE * sum(parameter.numel() for parameter in model.parameters()),
        sparse=sum(values + index for values, index in sizes),
        index=sum(index for _, index in sizes),
    )


def _smallest(tensor: Tensor) -> tuple[int, int]:
    """Return bytes of values and of index in the best format; on a tie, the smaller index wins."""
    sizes = [(VALUE * tensor.numel(), 0), *_indexed(tensor != 0, VALUE)]
    if tensor.dim() == 4:
        kernels = (tensor != 0).flatten(2).any(2)
        sizes += _indexed(kernels, VALUE * tensor[0, 0].numel())
    return min(sizes, key=lambda size: (sum(size), size[1]))


def _indexed(stored: Tensor, each: int) -> list[tuple[int, int]]:
    """Return bytes of values and of index for a bitmask and for a list of positions."""
    count = int(torch.count_nonzero(stored))
    width = -(-max(stored.numel() - 1, 1).bit_length() // 8)
    return [(each * count, -(-stored.numel() // 8)), (each * count, width * count)]
