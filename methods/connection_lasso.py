"""Connection magnitude with an L1 penalty on kernels: a group lasso over connections.

The rival that isolates what synaptic strength adds: the same grain, the same kind of penalty, the
same one threshold, but on the norms of the kernels as they are, without the batch norm's
scale and without a parameter of its own. The penalty is Yuan and Lin's (2006) group lasso, used on
the structures of convolutions by Wen et al. (SSL, NeurIPS 2016); the combination is a control of
this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import (
    Grain,
    LogUniform,
    Method,
    ParameterGroup,
    Scores,
    Search,
    kernel_norms,
    prunable_layers,
    prunable_weights,
)


@dataclass(frozen=True, kw_only=True)
class ConnectionLasso(Method):
    """Prune connections by the norm of their kernel, after training with a penalty on it.

    Attributes:
        lambda_: weight of the penalty, summed over the Frobenius norms of all kernels.
    """

    paper: ClassVar[str] = "control; group lasso as in Wen et al., NeurIPS 2016"
    grain: ClassVar[Grain] = "connection"
    search: ClassVar[Mapping[str, Search]] = {"lambda": LogUniform(1e-5, 1e-1)}
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "lambda": (0, 1e3, "the penalty pulls towards zero; a stronger one leaves no network"),
    }
    lambda_: float = 1e-4

    def penalty(self, model: nn.Module) -> Tensor:
        """Weigh the sum of kernel norms; the sub-gradient of a kernel of zeros is zero."""
        norms = [kernel_norms(weight).sum() for weight in _weights(model)]
        return self.lambda_ * torch.stack(norms).sum()

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup]:
        """Leave the decay of kernels to the penalty, as synaptic strength does."""
        return [ParameterGroup(_weights(model), 0.0)]

    def scores(self, model: nn.Module) -> Scores:
        """Give each connection the Frobenius norm of its kernel."""
        return {name: kernel_norms(weight) for name, weight in prunable_weights(model).items()}


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return [model.get_parameter(layer.weight) for layer in prunable_layers(model)]
