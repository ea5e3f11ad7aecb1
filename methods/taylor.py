"""Taylor pruning: Molchanov, Mallya, Tyree, Frosio, Kautz, CVPR 2019 (arXiv 1906.10771)."""

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ssbench.method import (
    Batches,
    Grain,
    Method,
    Scores,
    gradients,
    scratch_copy,
    to_grain,
    weights_of,
)


@dataclass(frozen=True, kw_only=True)
class Taylor(Method):
    """Score a unit by the square of how much the loss changes, to first order, without it.

    The paper's importance of a group: (sum over the unit of dL/dw * w)^2, the mean over batches.
    The network is in eval mode. The paper prunes little by little while it finetunes; here all goes
    at once, or in the budget's ``passes``.

    Attributes:
        grain: the unit that is kept or pruned (paper: filters).
        minibatches: the mean is taken over so many.
    """

    paper: ClassVar[str] = "Molchanov et al., CVPR 2019"
    grain: Grain = "filter"
    minibatches: int = 20

    def scores(self, model: nn.Module, *, batches: Batches | None = None) -> Scores:
        """Average the squared first-order changes over batches; needs ``batches``."""
        if batches is None:
            raise ValueError("Taylor pruning needs training images to score with")
        network = scratch_copy(model, batch_statistics=False)
        weights, found, number = weights_of(network), defaultdict[str, list[Tensor]](list), 0
        for images, labels in itertools.islice(batches(), self.minibatches):
            for name, gradient in gradients(network, images, labels).items():
                change = to_grain((gradient * weights[name]).detach(), self.grain).square()
                found[name] = [change + found[name][0]] if number else [change]
            number += 1
        return {name: total / number for name, (total,) in found.items()}
