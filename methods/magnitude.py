"""Magnitude pruning: small weights, kernels or filters go.

Weights: Han et al., NeurIPS 2015. Filters by L1 norm: Li et al., ICLR 2017. Kernels, each scored
by the sum of its weights' magnitudes: Mao et al., CVPRW 2017.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ssbench.method import Grain, Method, Scope, Scores, prunable_weights, to_grain


@dataclass(frozen=True, kw_only=True)
class Magnitude(Method):
    """Score each unit by the norm of its weights.

    Attributes:
        grain: the unit that is kept or pruned.
        norm: ``l1``, the sum of |w| (Mao et al., Li et al.), or ``l2``, the Euclidean norm.
    """

    paper: ClassVar[str] = "Han et al., NeurIPS 2015; Li et al., ICLR 2017; Mao et al., CVPRW 2017"
    grain: Grain = "weight"
    norm: Literal["l1", "l2"] = "l1"

    @property
    def scope(self) -> Scope:
        """Filters layer by layer, as Li et al. do: norms over unlike fan-ins do not compare."""
        return "layerwise" if self.grain == "filter" else "global"

    def scores(self, model: nn.Module) -> Scores:
        """Give each unit the norm of its weights."""
        weights = prunable_weights(model)
        if self.norm == "l2":
            return {name: to_grain(w.square(), self.grain).sqrt() for name, w in weights.items()}
        return {name: to_grain(weight.abs(), self.grain) for name, weight in weights.items()}
