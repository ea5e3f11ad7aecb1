"""Gradual magnitude pruning: Zhu and Gupta, ICLR 2018 workshop (arXiv 1710.01878)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import (
    Grain,
    Method,
    Pruning,
    Scope,
    Scores,
    Search,
    Uniform,
    prunable_weights,
    to_grain,
)


@dataclass(frozen=True, kw_only=True)
class GradualMagnitude(Method):
    """Prune small weights in many steps while the network trains.

    Eq. 1 of the paper: at a time t from 0 (begin) to 1 (end) the share s (1 - (1 - t)^3) is
    pruned, s being the budget's final one, of every layer alike. What is gone stays gone.

    Attributes:
        grain: the unit that is kept or pruned.
        begin: when the pruning begins, as a share of the training.
        end: when the last share is reached; the rest of the training heals.
        renewals: so often masks are renewed (paper: every 100 to 1,000 steps).
    """

    paper: ClassVar[str] = "Zhu and Gupta, ICLR 2018 workshop"
    search: ClassVar[Mapping[str, Search]] = {
        "begin": Uniform(0.0, 0.4),
        "end": Uniform(0.5, 1.0),
    }
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "begin": (0, 1, "it is a share of the training"),
        "end": (1e-3, 1, "it is a share of the training, and pruning takes time"),
        "renewals": (1, 1e5, "masks are renewed after a step of the training"),
    }
    scope: ClassVar[Scope] = "layerwise"
    grain: Grain = "weight"
    begin: float = 0.0
    end: float = 0.75
    renewals: int = 30

    def __post_init__(self) -> None:
        """See that the times are in order."""
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError("begin and end must be shares of the training, begin before end")
        if self.renewals < 1:
            raise ValueError("renewals must be at least 1")

    def attach(self, model: nn.Module) -> None:
        """Let the model remember how often its masks have been renewed."""
        model.add_module("gradual", Renewals())

    def after_step(
        self, model: nn.Module, progress: float, *, pruning: Pruning | None = None
    ) -> None:
        """Renew the masks when the next moment has come."""
        done = (progress - self.begin) / (self.end - self.begin)
        due = min(int(done * self.renewals + 1e-9), self.renewals) if done > 0 else 0
        memory = model.get_submodule("gradual")
        assert isinstance(memory, Renewals)  # noqa: S101 -- attach put it there
        if pruning is not None and due > memory.number:
            memory.number = due
            pruning.to(1 - (1 - pruning.kept) * self.pruned(due / self.renewals))

    def pruned(self, time: float) -> float:
        """Which part of the final sparsity is reached at a time from 0 to 1."""
        return float(1 - (1 - time) ** 3)

    def scores(self, model: nn.Module) -> Scores:
        """Sum |w| over each unit."""
        weights = prunable_weights(model)
        return {name: to_grain(weight.abs(), self.grain) for name, weight in weights.items()}

    def detach(self, model: nn.Module) -> None:
        """Take the memory away."""
        del model.gradual


class Renewals(nn.Module):
    """A number that is saved with the model, and read without waiting for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def get_extra_state(self) -> Tensor:
        """Give the number to ``state_dict()``."""
        return torch.tensor(self.number)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the number from ``load_state_dict()``."""
        self.number = int(state)
