"""A method's scores, checked, and laid out as one list of units over all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.layers import Layer
from ssbench.structure import Structure


@dataclass(frozen=True)
class Units:
    """Every unit that may be pruned: the values of all scores, end to end.

    Attributes:
        scores: by weight name, on the CPU, float32, each broadcasting over its weight.
        shapes: the weights' shapes.
    """

    structure: Structure
    scores: dict[str, Tensor]
    shapes: dict[str, torch.Size]

    @classmethod
    def of(
        cls, structure: Structure, scores: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> Units:
        """Check a method's scores against the weights that they name.

        Raises:
            RunFailedError: a name that is no prunable weight, a shape that does not broadcast,
                a score that is not a number.
        """
        layers = {layer.weight: layer for layer in structure.layers}
        for name, score in scores.items():
            _check(name, score, layers, shapes)
        ordered = {name: scores[name].detach().float().cpu() for name in layers if name in scores}
        return cls(structure, ordered, dict(shapes))

    @cached_property
    def values(self) -> Tensor:
        """All scores in one vector [units]."""
        return torch.cat([score.reshape(-1) for score in self.scores.values()])

    @cached_property
    def sizes(self) -> list[int]:
        """The number of units in each scored layer."""
        return [score.numel() for score in self.scores.values()]

    @cached_property
    def whole_filters(self) -> bool:
        """Whether a unit is a filter or an input channel, and not a part of one."""
        return all(
            score.numel() in score.shape[:1] or score.numel() in score.shape[1:2]
            for score in self.scores.values()
        )

    def masks(self, kept: Tensor) -> dict[str, Tensor]:
        """Spread a choice of units [units] to boolean masks in the weights' shapes.

        Where whole filters go, the kernels that read or feed only silence go with them.
        """
        parts = torch.split(kept, self.sizes)
        masks = {
            name: part.reshape(score.shape).expand(self.shapes[name])
            for (name, score), part in zip(self.scores.items(), parts, strict=True)
        }
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
