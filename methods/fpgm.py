"""FPGM, pruning by the geometric median: He et al., CVPR 2019 (arXiv 1811.00250)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ssbench.method import (
    Grain,
    Method,
    Scope,
    Scores,
    group_importance,
    prunable_weights,
    torch_pruning,
)


@dataclass(frozen=True, kw_only=True)
class Fpgm(Method):
    """Score a filter by the sum of its distances to the other filters of its layer.

    Filters near the geometric median can be replaced by the others. Distances grow with the number
    of weights in a filter: the sum is divided by its mean over the layer, so that a budget's
    ``scope = "global"`` makes sense too; the paper prunes each layer by the same share.

    Attributes:
        distance: ``paper``, Euclidean between the filters. ``torch-pruning``: as that
            library's importance of this name has it, between the filters' squared elements, and
            averaged with the same for the columns of the layers that read the filters.
    """

    paper: ClassVar[str] = "He et al., CVPR 2019"
    grain: ClassVar[Grain] = "filter"
    scope: ClassVar[Scope] = "layerwise"
    distance: Literal["paper", "torch-pruning"] = "paper"

    def scores(self, model: nn.Module, *, example: Tensor | None = None) -> Scores:
        """Sum the distances within each layer; torch-pruning's importance needs ``example``."""
        if self.distance == "torch-pruning":
            importance = torch_pruning().importance.FPGMImportance()
            return group_importance(model, importance, example)
        return {name: _apart(weight) for name, weight in prunable_weights(model).items()}


def _apart(weight: Tensor) -> Tensor:
    """How far each filter [out, 1, ...] is from the others, relative to the layer's mean."""
    filters = weight.flatten(1)
    # Not by the matrix product, which loses near filters in rounding.
    distances = torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    relative = distances / distances.mean().clamp(min=torch.finfo(distances.dtype).tiny)
    return relative.reshape(-1, *(1,) * (weight.dim() - 1))
