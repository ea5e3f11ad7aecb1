"""A method's scores, checked, and pooled over units that can only be pruned together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.pruning.cuts import Cut, plan
from ssbench.pruning.graph.structure import Structure
from ssbench.pruning.scores import check_one, real

Kept = Mapping[str, Tensor]
"""Units that stay: boolean, by the leader's weight name, in the score's shape."""


@dataclass(frozen=True)
class Units:
    """All prunable units.

    If scores are for whole filters (or input channels), tied filters of several layers
    (`ssbench.pruning.graph.coupling`) are one unit, with the mean of its members' scores: a channel
    of a residual stream leaves the network only with all filters that write it.

    Attributes:
        scores: by weight name, on the CPU, float32 or float64 (`ssbench.pruning.scores.real`),
            each broadcasting over its weight; members of a tied group have the same.
        leaders: by weight name, the member that represents its tied group; mostly itself.
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
        """Check a method's scores against the weights, and pool tied ones.

        Raises:
            RunFailedError: as `ssbench.pruning.scores.check_one`, or there is no score at all.
        """
        layers = {layer.weight: layer for layer in structure.weighted}
        for name, score in scores.items():
            check_one(name, score, layers, shapes)
        if not scores:
            raise RunFailedError("the method scored no weight at all")
        ordered = real({name: scores[name] for name in layers if name in scores})
        leaders = {name: name for name in ordered}
        if all(_is_whole(score) for score in ordered.values()):
            inner = {layer.weight for layer in structure.inner}  # no surgery reaches their filters
            ordered = {name: score for name, score in ordered.items() if name not in inner}
            ordered, leaders = _pooled(structure, ordered)
        return cls(structure, ordered, leaders, dict(shapes))

    @cached_property
    def own(self) -> dict[str, Tensor]:
        """The leaders' scores: every unit once."""
        return {name: self.scores[name] for name in self.scores if self.leaders[name] == name}

    @cached_property
    def values(self) -> Tensor:
        """The score of every unit in one vector [units]."""
        return torch.cat([score.reshape(-1) for score in self.own.values()])

    @cached_property
    def whole_filters(self) -> bool:
        """Whether a unit is a whole filter or input channel."""
        return all(_is_whole(score) for score in self.scores.values())

    def masks(self, kept: Kept) -> dict[str, Tensor]:
        """Expand a choice of units to boolean masks in the weights' shapes.

        For whole filters, also prune the kernels that read or feed only silent channels, and keep
        the filters that surgery cannot remove.
        """
        masks = self._spread(kept)
        return self._closed(masks) if self.whole_filters else masks

    def _spread(self, kept: Kept) -> dict[str, Tensor]:
        return {name: kept[self.leaders[name]].expand(self.shapes[name]) for name in self.scores}

    def left_of(self, kept: Kept) -> Cut:
        """Return what surgery leaves of a choice of units."""
        return self.cut(self._spread(kept))

    def cut(self, masks: Mapping[str, Tensor]) -> Cut:
        """Return what surgery leaves of a network with these masks."""
        return plan(self.structure, masks, self._ranks, one_each=False)

    def goes_alone(self, kept: Kept) -> bool:
        """Whether surgery can remove everything that a choice of units makes useless."""
        masks = self._spread(kept)
        flow, cut = self.structure.flow(masks), self.cut(masks)
        for layer in self.structure.layers:
            rows = flow.emitted[layer.name] & flow.needed[layer.name]
            live = rows.unsqueeze(1) & layer.columns(flow.read[layer.name])
            if layer.weight in masks:
                mask = masks[layer.weight]
                live = live & mask.reshape(*mask.shape[:2], -1)[..., 0]
            left = cut.kernels(layer)
            if not torch.equal(live.expand(left.shape), left):
                return False
        return True

    @cached_property
    def _ranks(self) -> Tensor:
        """The highest score of each class of channels; classes without one come last."""
        channels = self.structure.channels
        ranks = torch.full((channels.count,), -math.inf)
        for layer in self.structure.layers:
            score = self.scores.get(layer.weight)
            if score is None:
                continue
            by_output = score.numel() == score.shape[0]
            ends = (channels.outputs if by_output else channels.inputs)[layer.name]
            if ends is not None and ends.numel() == score.numel():
                ranks.scatter_reduce_(0, ends, score.reshape(-1), "amax")
        return ranks

    def _closed(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        cut = self.cut(masks)
        closed = {}
        for layer in self.structure.layers:
            shape = self.shapes[layer.weight]
            live = cut.kernels(layer)
            closed[layer.weight] = live.reshape(*live.shape, *(1,) * (len(shape) - 2)).expand(shape)
        return closed


def _is_whole(score: Tensor) -> bool:
    """Whether a score has one value per filter, or one per input channel."""
    return score.numel() in score.shape[:1] or score.numel() in score.shape[1:2]


def _pooled(
    structure: Structure, scores: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Replace the scores of tied filters and tied input channels by their mean."""
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
                pooled[name] = mean.to(scores[name].dtype).reshape(scores[name].shape)
                leaders[name] = members[0]
    return pooled, leaders
