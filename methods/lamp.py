"""LAMP, layer-adaptive magnitude pruning: Lee et al., ICLR 2021 (arXiv 2010.07611)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import Grain, Method, Scores, prunable_weights


@dataclass(frozen=True, kw_only=True)
class Lamp(Method):
    """Score a weight by its square over the sum of all squares in its layer that are no smaller.

    The paper's score(u) = W[u]^2 / sum over v >= u of W[v]^2, the weights of a layer in
    ascending order of magnitude. One threshold over all layers then chooses their sparsities. The
    largest weight of each layer scores 1, so that no layer dies. Of equal weights the earlier one
    comes first in the order.
    """

    paper: ClassVar[str] = "Lee et al., ICLR 2021"
    grain: ClassVar[Grain] = "weight"

    def scores(self, model: nn.Module) -> Scores:
        """Score every weight, in (0, 1]; 0 where the weight is zero."""
        return {name: _lamp(weight) for name, weight in prunable_weights(model).items()}


def _lamp(weight: Tensor) -> Tensor:
    squares, order = weight.double().square().flatten().sort(stable=True)
    left = squares.flip(0).cumsum(0).flip(0)
    # A layer of zeros has nothing left to divide by.
    scores = torch.zeros_like(squares).scatter(0, order, squares / left.clamp(min=1e-300))
    return scores.float().reshape(weight.shape)
