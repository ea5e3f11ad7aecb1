"""A method's scores, checked, and pooled over what can only be pruned together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.structure import Structure

Kept = Mapping[str, Tensor]
"""Which units stay: boolean, by the leader's weight name, in the score's shape."""


@dataclass(frozen=True)
class Units:
    """Every unit that may be pruned.

    Where whole filters (or input channels) are scored, those of layers that are tied to each other
    (`ssbench.pruning.graph.coupling`) are one unit, worth the mean of its members' scores: a
    channel of a residual stream leaves the network only with all the filters that write it.

    Attributes:
        scores: by weight name, on the CPU, float32, each broadcasting over its weight; members of
            a tied group have the same.
        leaders: by weight name, the member that stands for its tied group; mostly itself.
        shapes: the parameters' shapes.
    """

    structure: Structure
    scores: dict[str, Tensor]
    leaders: dict[str, str]
    shapes: dict[str, torch.Size]

    @classmethod
    def of(
        cls, structure: Structure, scores: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> Units:
        """Check a method's scores against the weights that they name, and pool what is tied.

        Raises:
            RunFailedError: a name that is no prunable weight, a shape that does not broadcast,
                a score that is not a number.
        """
        layers = {layer.weight: layer for layer in structure.layers}
        for name, score in scores.items():
            _check(name, score, layers, shapes)
        if not scores:
            raise RunFailedError("the method scored no weight at all")
        ordered = {name: scores[name].detach().float().cpu() for name in layers if name in scores}
        leaders = {name: name for name in ordered}
        if all(_is_whole(score) for score in ordered.values()):
            ordered, leaders = _pooled(structure, ordered)
        return cls(structure, ordered, leaders, dict(shapes))

    @cached_property
    def own(self) -> dict[str, Tensor]:
        """The scores of the leaders: every unit once."""
        return {name: self.scores[name] for name in self.scores if self.leaders[name] == name}

    @cached_property
    def values(self) -> Tensor:
        """The score of every unit in one vector [units]."""
        return torch.cat([score.reshape(-1) for score in self.own.values()])

    @cached_property
    def whole_filters(self) -> bool:
        """Whether a unit is a filter or an input channel, and not a part of one."""
        return all(_is_whole(score) for score in self.scores.values())

    def masks(self, kept: Kept) -> dict[str, Tensor]:
        """Spread a choice of units to boolean masks in the weights' shapes.

        Where whole filters go, the kernels that read or feed only silence go with them.
        """
        masks = {name: kept[self.leaders[name]].expand(self.shapes[name]) for name in self.scores}
        return self._closed(masks) if self.whole_filters else masks

    def _closed(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        flow = self.structure.flow(masks)
        closed = {}
        for layer in self.structure.layers:
            rows = flow.emitted[layer.name] & flow.needed[layer.name]
            live = rows.unsqueeze(1) & layer.columns(flow.read[layer.name])
            shape = self.shapes[layer.weight]
            mask = live.reshape(*live.shape, *(1,) * (len(shape) - 2)).expand(shape)
            closed[layer.weight] = mask & masks[layer.weight] if layer.weight in masks else mask
        return closed


def _is_whole(score: Tensor) -> bool:
    """Whether a score has one value for each filter, or one for each input channel."""
    return score.numel() in score.shape[:1] or score.numel() in score.shape[1:2]


def _pooled(
    structure: Structure, scores: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Give tied filters and tied input channels the mean of their scores."""
    groups: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for layer in structure.layers:
        if layer.weight in scores:
            score = scores[layer.weight]
            by_output = score.numel() == score.shape[0]
            ties = structure.tied_outputs if by_output else structure.tied_inputs
            side = "outputs" if by_output else "inputs"
            groups[side, ties[layer.name], score.numel()].append(layer.weight)
    pooled, leaders = dict(scores), {name: name for name in scores}
    for members in groups.values():
        if len(members) > 1:
            mean = torch.stack([scores[name].flatten().double() for name in members]).mean(0)
            for name in members:
                pooled[name] = mean.float().reshape(scores[name].shape)
                leaders[name] = members[0]
    return pooled, leaders


def _check(
    name: str, score: Tensor, layers: Mapping[str, Layer], shapes: Mapping[str, torch.Size]
) -> None:
    if name not in layers:
        raise RunFailedError(
            f"scores name {name!r}, which is no convolution's or linear layer's weight"
        )
    shape = shapes[name]
    fits = score.dim() == len(shape) and all(
        have in (1, want) for have, want in zip(score.shape, shape, strict=True)
    )
    if not fits:
        raise RunFailedError(
            f"scores of {name} have shape {list(score.shape)}, which does not broadcast over "
            f"the weight's {list(shape)}"
        )
    if layers[name].is_output and score.shape[0] != 1:
        raise RunFailedError(f"scores of {name} would prune the outputs of the network")
    if torch.isnan(score).any():
        raise RunFailedError(f"scores of {name} contain NaN")
