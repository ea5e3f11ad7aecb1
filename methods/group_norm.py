"""Group-norm importance over the dependency graph: Fang et al., CVPR 2023 (DepGraph, 2301.12900).

The importance is torch-pruning's; here it is asked for, layer by layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ssbench.method import Choice, Grain, Method, Scores, Search, group_importance, torch_pruning


@dataclass(frozen=True, kw_only=True)
class GroupNorm(Method):
    """Score a filter by the norms of all parameters that would leave the network with it.

    Section 3.3 of the paper, without its sparse training: the filter itself, the filters tied to
    it, their batch norms and the columns of the layers that read them; the mean over these, over
    the layer's mean, as torch-pruning normalises it.

    Attributes:
        p: the norm's exponent.
    """

    paper: ClassVar[str] = "Fang et al., CVPR 2023"
    grain: ClassVar[Grain] = "filter"
    search: ClassVar[Mapping[str, Search]] = {"p": Choice((1, 2))}
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "p": (1, 10, "a norm has an exponent from 1, and powers over 10 leave single precision"),
    }
    p: int = 2

    def scores(self, model: nn.Module, *, example: Tensor | None = None) -> Scores:
        """Ask torch-pruning's group importance for each layer; needs ``example``."""
        importance = torch_pruning().importance.GroupMagnitudeImportance(p=self.p)
        return group_importance(model, importance, example)
