"""What a network costs under every threshold at once: a sum over entries that die at their level.

A weight dies when its own unit is pruned; the bias and the batch-norm scale of a channel die with
the last path that reaches the channel; where whole filters go, a kernel dies with the first of its
filter, its input and its last way to the output. Each of these moments is one score (see
`ssbench.flow`), so that

    share(threshold) = (constant + sum of prices of entries with level > threshold) / whole

holds exactly, and meeting a budget is finding an order statistic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssbench.counting import Counts
from ssbench.flow import Flow, meet
from ssbench.layers import Layer
from ssbench.sparsity.budget import Unit
from ssbench.sparsity.units import Units

Entries = list[tuple[Tensor, int]]
"""Levels [n], and the price of each of these n entries."""


@dataclass(frozen=True)
class Price:
    """The size of a network in one unit, in parts.

    Attributes:
        entries: what can be pruned.
        constant: what stays whatever is pruned.
        whole: the size of the dense network.
    """

    entries: Entries
    constant: int
    whole: int


def price(units: Units, levels: Mapping[str, Tensor], unit: Unit, dense: Counts) -> Price:
    """Lay out what each threshold over ``levels`` would keep.

    Args:
        units: what may be pruned.
        levels: by weight name, in the scores' shapes: higher stays longer; the scores themselves,
            or any order of the units.
        unit: what is counted.
        dense: the counts of the dense network.
    """
    entries = _kernels_of_filters if units.whole_filters else _weights
    found = entries(units, levels, unit, dense)
    if unit == "params":
        found += _vectors(units, levels)
    whole: int = getattr(dense, unit)
    return Price(found, whole - sum(level.numel() * each for level, each in found), whole)


def _weights(units: Units, levels: Mapping[str, Tensor], unit: Unit, dense: Counts) -> Entries:
    """Weights, or kernels that die with their last weight."""
    found: Entries = []
    for layer in units.structure.layers:
        if layer.weight not in levels:
            continue
        level = levels[layer.weight]
        if unit == "connections":
            if not layer.is_output:
                found.append((_grid(units, layer, level).reshape(-1), 1))
        else:
            each = units.shapes[layer.weight].numel() // level.numel()
            found.append((level.reshape(-1), each * _uses(units, layer, unit, dense)))
    return found


def _kernels_of_filters(
    units: Units, levels: Mapping[str, Tensor], unit: Unit, dense: Counts
) -> Entries:
    """Kernels, of all layers: those that read a pruned channel go with it."""
    flow = _survival(units, levels)
    found: Entries = []
    for layer in units.structure.layers:
        if unit == "connections" and layer.is_output:
            continue
        rows = torch.minimum(flow.emitted[layer.name], flow.needed[layer.name])
        grid = meet(rows.unsqueeze(1), layer.columns(flow.read[layer.name]))
        if layer.weight in levels:
            grid = meet(grid, _grid(units, layer, levels[layer.weight]))
        size = units.shapes[layer.weight][2:].numel()
        each = 1 if unit == "connections" else size * _uses(units, layer, unit, dense)
        found.append((grid.expand(units.shapes[layer.weight][:2]).reshape(-1), each))
    return found


def _vectors(units: Units, levels: Mapping[str, Tensor]) -> Entries:
    """Biases, and scales and shifts of batch norms."""
    flow = _survival(units, levels)
    vectors = {f"{name}.bias": level for name, level in flow.emitted.items()}
    for name, level in flow.norms.items():
        vectors |= {f"{name}.weight": level, f"{name}.bias": level}
    return [
        (level, units.shapes[name].numel() // level.numel())
        for name, level in vectors.items()
        if name in units.shapes
    ]


def _survival(units: Units, levels: Mapping[str, Tensor]) -> Flow:
    grids = {
        layer.name: _grid(units, layer, levels[layer.weight])
        for layer in units.structure.layers
        if layer.weight in levels
    }
    return units.structure.survival(grids)


def _grid(units: Units, layer: Layer, level: Tensor) -> Tensor:
    """The level of each kernel [out, in/groups]: that of its best weight."""
    best = level.flatten(2).amax(2) if level.dim() > 2 and level[0, 0].numel() > 1 else level
    return best.reshape(best.shape[:2]).expand(units.shapes[layer.weight][:2])


def _uses(units: Units, layer: Layer, unit: Unit, dense: Counts) -> int:
    """How much one weight counts for: 1 parameter, or the multiply-adds that use it."""
    if unit == "params":
        return 1
    return dense.layer_macs[layer.name] // units.shapes[layer.weight].numel()
