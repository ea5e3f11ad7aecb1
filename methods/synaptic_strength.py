"""Synaptic strength: Lin, Zhong, Wu, Yan, NeurIPS 2018 (arXiv 1811.02454).

The strength of a connection (one 2-D kernel K[k, c] from input map c to output map k) is the
batch-norm scale of the input map times the norm of the kernel. The network is rewritten so that
this product is a parameter of its own: with f positively homogeneous (ReLU, PReLU) and g != 0,

    f(g x + b) = |g| f(sign(g) x + b / |g|), hence
    y_k = sum_c s[k, c] * K[k, c] / ||K[k, c]|| * f(sign(g_c) x_c + b_c / |g_c|),
    s[k, c] = |g_c| * ||K[k, c]||  (Frobenius norm).

The batch-norm scale is dropped (its sign, 1 at the start of training, stays and is not trained),
an L1 penalty pulls the strengths towards zero, and one global threshold decides. A kernel whose
input has no such batch norm before it (the first layer; after a residual sum, a concatenation or
an activation like SiLU, through which no scale can be moved) takes g = 1: its strength is
a free parameter all the same.

Not known from the paper, hence decisions of this project: L1 as the form of the penalty, the sum
(not the mean) over connections, and no weight decay on strengths and kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ssbench.method import (
    Grain,
    Layer,
    LogUniform,
    Method,
    ParameterGroup,
    Scores,
    Search,
    kernel_norms,
    module_of,
    prunable_layers,
)


@dataclass(frozen=True, kw_only=True)
class SynapticStrength(Method):
    """Prune connections by their strength.

    Attributes:
        lambda_: weight of the penalty, summed over |strength|.
    """

    paper: ClassVar[str] = "Lin et al., NeurIPS 2018"
    grain: ClassVar[Grain] = "connection"
    search: ClassVar[Mapping[str, Search]] = {"lambda": LogUniform(1e-5, 1e-1)}
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "lambda": (0, 1e3, "the penalty pulls towards zero; a stronger one leaves no network"),
    }
    lambda_: float = 1e-4

    def attach(self, model: nn.Module) -> None:
        """Rewrite every kernel as strength x unit kernel, and drop the scales moved into it."""
        layers = prunable_layers(model)
        moved = {norm: _drop_scale(model, norm) for norm in _absorbed(layers)}
        for layer in layers:
            scale = moved.get(layer.norm_before or "")
            with torch.no_grad():
                if scale is not None:
                    weight = module_of(model, layer).weight
                    weight.mul_(layer.columns(scale)[(...,) + (None,) * (weight.dim() - 2)])
            parametrize.register_parametrization(module_of(model, layer), "weight", Strength())

    def penalty(self, model: nn.Module) -> Tensor:
        """Weigh the sum of |strength| over all connections."""
        norms = torch._foreach_norm([strength for _, strength in _parts(model)], 1)
        return self.lambda_ * torch.stack(norms).sum()

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup]:
        """Decay neither strengths (the penalty does that) nor kernels (they have no scale)."""
        return [ParameterGroup([part for parts in _parts(model) for part in parts], 0.0)]

    def scores(self, model: nn.Module) -> Scores:
        """Give each connection its |strength|, shape [out, in/groups, 1, 1]."""
        strengths = [strength.detach().abs() for _, strength in _parts(model)]
        names = [layer.weight for layer in prunable_layers(model)]
        return dict(zip(names, strengths, strict=True))

    def detach(self, model: nn.Module) -> None:
        """Multiply strengths and unit kernels out; the batch-norm scales, at ±1, train again."""
        layers = prunable_layers(model)
        for layer in layers:
            parametrize.remove_parametrizations(module_of(model, layer), "weight")
        for norm in _absorbed(layers):
            model.get_submodule(norm).weight.requires_grad_(True)


class Strength(nn.Module):
    """The parametrization of a weight [out, in/groups, h, w] as strength x unit kernel."""

    def forward(self, kernel: Tensor, strength: Tensor) -> Tensor:
        """Scale each kernel to unit Frobenius norm, then by its strength [out, in/groups, 1, 1]."""
        return kernel * (strength / kernel_norms(kernel))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Split a weight; a kernel of zeros gets strength 0 and an arbitrary direction."""
        strength = kernel_norms(weight)
        return torch.where(strength > 0, weight, torch.ones_like(weight)), strength


def _absorbed(layers: tuple[Layer, ...]) -> list[str]:
    """The batch norms whose scale goes into the kernels that read them."""
    return sorted({layer.norm_before for layer in layers if layer.norm_before})


def _drop_scale(model: nn.Module, name: str) -> Tensor:
    """Take |scale| [channels] out of a batch norm; a channel with scale 0 is left as it is."""
    norm = model.get_submodule(name)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)  # noqa: S101 -- Structure says so
    with torch.no_grad():
        scale = torch.where(norm.weight == 0, 1.0, norm.weight.abs())
        norm.weight.div_(scale)
        norm.bias.div_(scale)
    norm.weight.requires_grad_(False)
    return scale


def _parts(model: nn.Module) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """The kernel and the strength of every parametrized layer, in the order of the layers."""
    parts = []
    for layer in prunable_layers(model):
        originals = model.get_submodule(f"{layer.name}.parametrizations.weight")
        parts.append((originals.original0, originals.original1))
    return parts  # type: ignore[return-value]
