"""The size of a network under every threshold at once: a sum of entries, each with its level.

A weight dies when its own unit is pruned; the bias and the batch-norm scale of a channel die with
the last path that reaches the channel; if whole filters are pruned, a kernel dies with the first
of its filter, its input and its last path to the output. Each of these levels is one score (see
`ssbench.pruning.graph.liveness`), so

    share(threshold) = (constant + sum of prices of entries with level > threshold) / whole

holds exactly, and meeting a budget means finding an order statistic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssbench.pruning.budget import Unit
from ssbench.pruning.counting import Counts
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.liveness import meet
from ssbench.pruning.units import Units

Grids = dict[str, Tensor]
"""By layer name, the level of each kernel [out, in/groups]."""
Entries = list[tuple[Tensor, int]]
"""Levels [n], and the price of each of these n entries."""


@dataclass(frozen=True)
class Price:
    """The size of a network in one unit, split into parts.

    Attributes:
        entries: what can be pruned.
        constant: the size that no pruning removes.
        whole: the size of the dense network.
    """

    entries: Entries
    constant: int
    whole: int


def price(units: Units, levels: Mapping[str, Tensor], unit: Unit, dense: Counts) -> Price:
    """Split a network's size into entries, so that any threshold over ``levels`` can be priced.

    Args:
        units: the prunable units.
        levels: by weight name, in the scores' shapes; the unit with the higher level stays longer.
            The scores themselves, or any order of the units.
        unit: the unit to count.
        dense: the counts of the dense network.
    """
    grids = _grids(units, levels)
    if units.whole_filters:
        grids = _closed(units, grids)
        found = _kernels(units, grids, unit, dense)
    else:
        found = _weights(units, levels, grids, unit, dense)
    if unit == "params":
        found += _vectors(units, grids)
    whole: int = getattr(dense, unit)
    return Price(found, whole - sum(level.numel() * each for level, each in found), whole)


def _grids(units: Units, levels: Mapping[str, Tensor]) -> Grids:
    return {
        layer.name: _grid(units, layer, levels[layer.weight])
        for layer in units.structure.weighted
        if layer.weight in levels
    }


def _closed(units: Units, grids: Grids) -> Grids:
    """Cap the level of each kernel by its input's and its consumers', in all layers."""
    flow = units.structure.survival(grids)
    closed = {}
    for layer in units.structure.layers:
        rows = torch.minimum(flow.emitted[layer.name], flow.needed[layer.name])
        grid = meet(rows.unsqueeze(1), layer.columns(flow.read[layer.name]))
        if layer.name in grids:
            grid = meet(grid, grids[layer.name])
        closed[layer.name] = grid.expand(units.shapes[layer.weight][:2])
    return closed


def _weights(
    units: Units, levels: Mapping[str, Tensor], grids: Grids, unit: Unit, dense: Counts
) -> Entries:
    """Return an entry per weight, or per kernel, which dies with its last weight."""
    found: Entries = []
    for layer in units.structure.weighted:
        if layer.weight not in levels:
            continue
        level = levels[layer.weight]
        if unit == "connections":
            if not layer.is_output:
                found.append((grids[layer.name].reshape(-1), 1))
        else:
            each = units.shapes[layer.weight].numel() // level.numel()
            found.append((level.reshape(-1), each * _uses(units, layer, unit, dense)))
    return found


def _kernels(units: Units, grids: Grids, unit: Unit, dense: Counts) -> Entries:
    """Return an entry per whole kernel, for all layers."""
    found: Entries = []
    for layer in units.structure.layers:
        if unit == "connections" and layer.is_output:
            continue
        size = units.shapes[layer.weight][2:].numel()
        each = 1 if unit == "connections" else size * _uses(units, layer, unit, dense)
        found.append((grids[layer.name].reshape(-1), each))
    return found


def _vectors(units: Units, grids: Grids) -> Entries:
    """Return entries for biases and batch-norm parameters; they die with the last kernel before."""
    flow = units.structure.survival(grids)
    vectors = {f"{name}.bias": level for name, level in flow.emitted.items()}
    for name, level in flow.norms.items():
        vectors |= {f"{name}.weight": level, f"{name}.bias": level}
    return [
        (level, units.shapes[name].numel() // level.numel())
        for name, level in vectors.items()
        if name in units.shapes
    ]


def _grid(units: Units, layer: Layer, level: Tensor) -> Tensor:
    """Return each kernel's level [out, in/groups]: the level of its best weight."""
    best = level.flatten(2).amax(2) if level.dim() > 2 and level[0, 0].numel() > 1 else level
    return best.reshape(best.shape[:2]).expand(units.shapes[layer.weight][:2])


def _uses(units: Units, layer: Layer, unit: Unit, dense: Counts) -> int:
    """Return what one weight counts: 1 parameter, or the multiply-adds that use it."""
    if unit == "params":
        return 1
    return dense.layer_macs[layer.name] // units.shapes[layer.weight].numel()
