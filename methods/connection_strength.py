"""The criterion of synaptic strength alone, on a network that was trained as usual.

Lin et al., NeurIPS 2018 (arXiv 1811.02454) score a connection, the 2-D kernel K[k, c] from input
map c to output map k, by the batch-norm scale of the input map times the norm of the kernel. Their
ablation (figure 4) compares criteria for kernels; on one and the same network that isolates what
the scale adds to a kernel's norm, apart from the penalty and the parametrization that the method
`synaptic-strength` trains with. Leaving both out is a control of this project.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import Grain, Layer, Method, Scores, module_of, prunable_layers


@dataclass(frozen=True, kw_only=True)
class ConnectionStrength(Method):
    """Score a connection by its kernel's norm times the batch-norm scale of what it reads."""

    paper: ClassVar[str] = "criterion of Lin et al., NeurIPS 2018"
    grain: ClassVar[Grain] = "connection"

    def scores(self, model: nn.Module) -> Scores:
        """Give each connection |g_c| * ||K[k, c]||, shape [out, in/groups, 1, 1].

        Where no batch norm's scale can be moved into a kernel (the first layer; behind a residual
        sum or a concatenation; with SiLU in between), g is 1, as in the method.
        """
        return {layer.weight: _strengths(model, layer) for layer in prunable_layers(model)}


def _strengths(model: nn.Module, layer: Layer) -> Tensor:
    weight = module_of(model, layer).weight.detach()
    if weight.dim() == 2:
        norms = weight.abs()
    else:
        norms = torch.linalg.vector_norm(weight, dim=(2, 3), keepdim=True)
    if layer.norm_before is None:
        return norms
    scale = model.get_submodule(layer.norm_before).weight
    assert isinstance(scale, Tensor)  # noqa: S101 -- Structure names batch norms with a scale
    columns = layer.columns(scale.detach().abs())
    return norms * columns[(...,) + (None,) * (weight.dim() - 2)]
