"""SynFlow, pruning before training without data: Tanaka, Kunin, Yamins, Ganguli, NeurIPS 2020."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import Grain, Method, Scores, scratch_copy, to_grain, weights_of


@dataclass(frozen=True, kw_only=True)
class Synflow(Method):
    """Score a weight by the flow through it: w * dR/dw, R the sum of outputs for an image of ones.

    Algorithm 1 of the paper (arXiv 2006.05467), with every parameter replaced by its magnitude and
    batch norms in eval mode. Scored and pruned in rounds, the shares kept in geometric progression.
    The products of many layers leave the range of single precision: they are computed in double,
    and the scores are their natural logarithms, which keep the order. A kernel or
    filter gets the sum over its weights: a decision of this project.

    Attributes:
        grain: the unit that is kept or pruned.
        rounds: so often is scored and pruned (paper: 100).
    """

    paper: ClassVar[str] = "Tanaka et al., NeurIPS 2020"
    before_training: ClassVar[bool] = True
    limits: ClassVar[dict[str, tuple[float, float, str]]] = {
        "rounds": (1, 1e4, "each round scores and prunes the whole network"),
    }
    grain: Grain = "weight"
    rounds: int = 100

    def scores(self, model: nn.Module, *, example: Tensor | None = None) -> Scores:
        """Take the logarithm of each unit's flow; minus infinity where none passes.

        Needs ``example`` for the shape of an image.
        """
        if example is None:
            raise ValueError("SynFlow needs the shape of an image to score with")
        network = scratch_copy(model, batch_statistics=False).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.abs_()
        weights = weights_of(network)
        total = network(torch.ones_like(example, dtype=torch.double)).sum()
        flows = torch.autograd.grad(total, list(weights.values()))
        return {
            name: to_grain((flow * weight).detach(), self.grain).log().float()
            for (name, weight), flow in zip(weights.items(), flows, strict=True)
        }
