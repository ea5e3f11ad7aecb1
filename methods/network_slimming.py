"""Network slimming: Liu et al., ICCV 2017 (arXiv 1708.06519).

An L1 penalty by sub-gradient on the batch-norm scales during training; then one threshold over
all |scale| of the network: channels at or under it go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import Grain, LogUniform, Method, Scores, Search, structure_of


@dataclass(frozen=True, kw_only=True)
class NetworkSlimming(Method):
    """Prune channels by the scale of their batch norm.

    A batch norm directly behind a convolution scores the convolution's filters. One that stands
    before layers, as behind a concatenation or in a pre-activation block, scores the channels that
    these layers read: the paper's channel selection (section 3.4), without a copy of the maps.
    Where filters are tied by a shortcut, the harness takes the mean of their scores. A layer
    without a batch norm on either side is not pruned. The paper's cap of 50 % of a layer per pass
    is the budget's ``protection = 0.5``, its multi-pass scheme the budget's ``passes``.

    Attributes:
        lambda_: weight of the penalty, summed over scales (paper: 1e-4 for VGG, 1e-5 for
            ResNet-164 and DenseNet-40, chosen on a validation split).
        scale: initial value of every batch-norm scale (paper: 0.5).
    """

    paper: ClassVar[str] = "Liu et al., ICCV 2017"
    grain: ClassVar[Grain] = "filter"
    search: ClassVar[Mapping[str, Search]] = {"lambda": LogUniform(1e-5, 1e-1)}
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "lambda": (0, 1e3, "the penalty pulls towards zero; a stronger one leaves no network"),
        "scale": (1e-6, 1e3, "channels start open, at a scale over zero"),
    }
    leaves_out: ClassVar[str] = "layers without a batch norm on either side"
    lambda_: float = 1e-4
    scale: float = 0.5

    def attach(self, model: nn.Module, *, fresh: bool = True) -> None:
        """Start every batch-norm scale that is penalised at ``scale``; a later pass goes on."""
        for scale in _penalised(model):
            if fresh:
                nn.init.constant_(scale, self.scale)

    def penalty(self, model: nn.Module) -> Tensor:
        """Weigh the sum of |scale|; autograd's sign(0) = 0 is a sub-gradient."""
        return self.lambda_ * torch.stack(torch._foreach_norm(_penalised(model), 1)).sum()

    def scores(self, model: nn.Module) -> Scores:
        """Give each filter, or each channel that a layer reads, the |scale| of its channel."""
        found = {}
        for name, (side, scale) in _scales(model).items():
            shape = [1] * model.get_parameter(name).dim()
            shape[side] = -1
            found[name] = scale.detach().abs().reshape(shape)
        return found


def _penalised(model: nn.Module) -> list[Tensor]:
    """Every batch-norm scale that scores something, once."""
    scales: dict[int, Tensor] = {id(scale): scale for _, scale in _scales(model).values()}
    return list(scales.values())


def _scales(model: nn.Module) -> dict[str, tuple[int, nn.Parameter]]:
    """By weight name, the batch-norm scale that scores it, and along which dimension.

    0: the filters, by the batch norm behind them; 1: the channels read, by the one before. A layer
    that reads a batch norm which no filters stand for is scored by it; then the batch norm behind
    that layer is left to its own readers, so that every scale counts once. A convolution in groups
    has no score for one channel that it reads: each of its filters reads some of them only.
    """
    found: dict[str, tuple[int, nn.Parameter]] = {}
    of_filters: set[str] = set()
    for layer in structure_of(model).layers:
        before, after = layer.norm_read, layer.norm_after
        scale = _scale(model, before)
        reads = scale is not None and scale.numel() == layer.inputs and layer.groups == 1
        if scale is not None and reads and before not in of_filters:
            found[layer.weight] = (1, scale)
        elif layer.kind == "conv" and after and (scale := _scale(model, after)) is not None:
            found[layer.weight] = (0, scale)
            of_filters.add(after)
    if not found:
        raise ValueError("network slimming needs batch norms next to its convolutions")
    return found


def _scale(model: nn.Module, norm: str | None) -> nn.Parameter | None:
    scale = getattr(model.get_submodule(norm), "weight", None) if norm else None
    return scale if isinstance(scale, nn.Parameter) else None
