"""The p-norm of each kernel: a criterion with one hyper-parameter, as an example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ssbench.method import Grain, Method, Scores, Search, Uniform, prunable_weights, to_grain


@dataclass(frozen=True, kw_only=True)
class KernelNorm(Method):
    """Score each 2-D kernel by the p-norm of its weights.

    Attributes:
        power: the p of the norm.
    """

    paper: ClassVar[str] = "an example"
    search: ClassVar[Mapping[str, Search]] = {"power": Uniform(1.0, 4.0)}
    grain: ClassVar[Grain] = "connection"
    power: float = 2.0

    def scores(self, model: nn.Module) -> Scores:
        """Sum |w|^p over each kernel and take the p-th root; higher is kept longer."""
        return {
            name: to_grain(weight.abs() ** self.power, self.grain) ** (1 / self.power)
            for name, weight in prunable_weights(model).items()
        }
