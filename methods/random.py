"""Random pruning: the control that any criterion must beat (Blalock et al., MLSys 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ssbench.method import Grain, Method, Scores, prunable_weights, to_grain


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Keep units of the grain drawn at random.

    Attributes:
        grain: the unit that is kept or pruned.
    """

    paper: ClassVar[str] = "control; Blalock et al., MLSys 2020"
    grain: Grain = "connection"

    def scores(self, model: nn.Module) -> Scores:
        """Draw one uniform number per unit (on the CPU: the same draw for every device)."""
        return {
            name: torch.rand(to_grain(weight, self.grain).shape).to(weight.device)
            for name, weight in prunable_weights(model).items()
        }
