"""Magnitude pruning: small weights, kernels or filters go.

Weights: Han et al., NeurIPS 2015. Filters by L1 norm: Li et al., ICLR 2017. Kernels, each scored
by the sum of its weights' magnitudes: Mao et al., CVPRW 2017.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ssbench.method import Grain, Method, Scores, prunable_weights, to_grain


@dataclass(frozen=True, kw_only=True)
class Magnitude(Method):
    """Score each unit by the sum of |w| over its weights.

    Attributes:
        grain: the unit that is kept or pruned.
    """

    paper: ClassVar[str] = "Han et al., NeurIPS 2015; Li et al., ICLR 2017; Mao et al., CVPRW 2017"
    grain: Grain = "weight"

    def scores(self, model: nn.Module) -> Scores:
        """Sum |w| over each unit."""
        weights = prunable_weights(model)
        return {name: to_grain(weight.abs(), self.grain) for name, weight in weights.items()}
