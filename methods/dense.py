"""No pruning: the control that every comparison needs, trained for the same total epochs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ssbench.method import Grain, Method, Scores


@dataclass(frozen=True, kw_only=True)
class Dense(Method):
    """Train and finetune the whole network."""

    grain: ClassVar[Grain] = "none"

    def scores(self, model: nn.Module) -> Scores:
        """Offer nothing for pruning."""
        del model
        return {}
