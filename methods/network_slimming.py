"""Network slimming: Liu et al., ICCV 2017 (arXiv 1708.06519).

An L1 penalty by sub-gradient on the batch-norm scales during training; then one threshold over
all |scale| of the network: channels at or under it go.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import Grain, Method, Scores, prunable_layers


@dataclass(frozen=True, kw_only=True)
class NetworkSlimming(Method):
    """Prune filters by the scale of the batch norm behind them.

    A convolution without a batch norm of its own is not pruned.

    Attributes:
        lambda_: weight of the penalty, summed over scales (paper: 1e-4 for VGG, 1e-5 for
            ResNet-164 and DenseNet-40, chosen on a validation split).
        scale: initial value of every batch-norm scale (paper: 0.5).
    """

    paper: ClassVar[str] = "Liu et al., ICCV 2017"
    grain: ClassVar[Grain] = "filter"
    lambda_: float = 1e-4
    scale: float = 0.5

    def attach(self, model: nn.Module) -> None:
        """Start every batch-norm scale at ``scale``."""
        for scale in _scales(model).values():
            nn.init.constant_(scale, self.scale)

    def penalty(self, model: nn.Module) -> Tensor:
        """Weigh the sum of |scale|; autograd's sign(0) = 0 is a sub-gradient."""
        return self.lambda_ * torch.stack([s.abs().sum() for s in _scales(model).values()]).sum()

    def scores(self, model: nn.Module) -> Scores:
        """Give each filter the |scale| of its channel."""
        return {
            name: scale.detach().abs().reshape(-1, 1, 1, 1)
            for name, scale in _scales(model).items()
        }


def _scales(model: nn.Module) -> dict[str, nn.Parameter]:
    """The batch-norm scale [out] behind each convolution, by the convolution's weight name."""
    scales = {
        layer.weight: getattr(model.get_submodule(layer.norm_after), "weight", None)
        for layer in prunable_layers(model)
        if layer.kind == "conv" and layer.norm_after
    }
    found = {name: scale for name, scale in scales.items() if isinstance(scale, nn.Parameter)}
    if not found:
        raise ValueError("network slimming needs convolutions directly followed by batch norm")
    return found
