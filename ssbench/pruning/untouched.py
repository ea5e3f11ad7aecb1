"""Find the layers of a network that a method cannot prune, whatever its scores are.

A layer is out of reach if the method gives it no score, or if, for whole filters, surgery can
remove neither its filters nor the channels that it reads: a group norm counts them, a shuffle mixes
them, a sum with such a result ties them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssbench.pruning.counting import Counts
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.units import Units

NO_SCORE = "the method has no score for it"
ATTENTION = "attention heads stay whole"
"""The reason for queries, keys, values and the projection behind them."""
IN_ONE = "queries, keys and values of torch's attention are one parameter and no layer"


@dataclass(frozen=True)
class Untouched:
    """Prunable layers that a method cannot prune.

    Attributes:
        layers: the reasons, by name.
        params: numbers in their parameters.
        macs: their multiply-adds.
        of: the sizes of the dense network.
    """

    layers: dict[str, str]
    params: int
    macs: int
    of: Counts

    def __str__(self) -> str:
        """The layers out of reach in one line, with the first reasons; empty if there are none."""
        if not self.layers:
            return ""
        count = len(self.layers)
        reasons: dict[str, list[str]] = {}
        for name, why in self.layers.items():
            reasons.setdefault(why, []).append(name)
        most = sorted(reasons.items(), key=lambda item: -len(item[1]))[:3]
        phrases = [
            f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {why}"
            for why, names in most
        ]
        return (
            f"{count} layer{'' if count == 1 else 's'} ({self.params / self.of.params:.1%} of "
            f"params, {self.macs / self.of.macs:.1%} of MACs) cannot be pruned "
            f"({'; '.join(phrases)}"
            f"{'; …' if len(reasons) > len(most) else ''})"
        )


def untouched(units: Units, dense: Counts) -> Untouched:
    """Find the layers out of reach: prune half of every scored layer and compare.

    Args:
        units: the scored units; their scores do not matter.
        dense: the counts of the dense network.
    """
    moved = _moved(units) if units.whole_filters else _scored(units)
    untouched_layers = [layer for layer in units.structure.prunable if layer.name not in moved]
    params = sum(
        units.shapes[name].numel()
        for layer in untouched_layers
        for name in (layer.weight, layer.bias)
        if name in units.shapes
    )
    apart = dict.fromkeys(dense.apart, IN_ONE)
    params += sum(units.shapes[name].numel() for name in apart)
    macs = sum(dense.layer_macs[layer.name] for layer in untouched_layers)
    attending = units.structure.attending
    reasons = {layer.name: _why(units, layer, attending) for layer in untouched_layers}
    return Untouched(reasons | apart, params, macs + sum(dense.apart.values()), dense)


def _scored(units: Units) -> set[str]:
    return {layer.name for layer in units.structure.weighted if layer.weight in units.scores}


def _moved(units: Units) -> set[str]:
    """Return the layers that shrink when every other class of channels is pruned."""
    cut = units.cut(_half(units))
    return {
        layer.name
        for layer in units.structure.layers
        if not (cut.outputs(layer.name).all() and cut.inputs(layer).all())
    }


def _half(units: Units) -> Mapping[str, Tensor]:
    channels = units.structure.channels
    masks = {}
    for layer in units.structure.layers:
        score = units.scores.get(layer.weight)
        if score is None:
            continue
        by_output = score.numel() == score.shape[0]
        classes = channels.outputs[layer.name] if by_output else _read(units, layer)
        kept = torch.ones(score.numel(), dtype=torch.bool)
        if classes is not None and classes.numel() == score.numel():
            kept = classes % 2 == 0
        if kept.any():
            masks[layer.weight] = kept.reshape(score.shape).expand(units.shapes[layer.weight])
    return masks


def _read(units: Units, layer: Layer) -> Tensor | None:
    """Return the classes that a layer reads; if a batch norm selects them, those before it."""
    channels = units.structure.channels
    for point in (layer.name, layer.norm_read):
        if point in channels.sources:
            return channels.sources[point]
    return channels.inputs[layer.name]


def _why(units: Units, layer: Layer, attending: frozenset[str]) -> str:
    if layer.name in attending and units.whole_filters:
        return ATTENTION
    if layer.weight not in units.scores:
        return NO_SCORE
    why = units.structure.channels.why[layer.name]
    return f"{', '.join(why)} needs all of it" if why else "all its inputs stay"
