"""L0 regularisation with hard concrete gates: Louizos, Welling, Kingma, ICLR 2018.

One gate per output map of a convolution and per input unit of a linear layer. In training, a gate
is drawn once per minibatch (eq. 10 to 12); at test time it is fixed and without noise (eq. 13).

    loss = cross-entropy + 1/N * sum_g P(z_g != 0) * sum_{w in g} (lambda + weight_decay/2 * w^2)

A decision of this project: where a batch norm follows the convolution directly, the gate
multiplies the batch norm's output. Before it, a gate in (0, 1] would be divided out again, so that
the task loss could not hold a gate open. The first linear layer behind convolutions and the hidden
ones behind it are gated; a linear output layer is gated only where hidden linear layers precede
it, else its inputs are maps that have a gate already.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import (
    Grain,
    Layer,
    LogUniform,
    Method,
    ParameterGroup,
    Scores,
    Search,
    module_of,
    structure_of,
)

BETA, GAMMA, ZETA, EPSILON = 2 / 3, -0.1, 1.1, 1e-6
LOG_ALPHA_LIMIT = math.log(100)


@dataclass(frozen=True, kw_only=True)
class L0(Method):
    """Prune filters (and input units of linear layers) by their gate.

    Attributes:
        lambda_: price of one weight behind an open gate, over N (paper: 0.001 or 0.002 for
            WRN-28-10; the authors' advice is to tune it).
        weight_decay: the L2 part of the price of gated weights, also over N.
        drop_rate: initial probability of a closed gate (paper: 0.3 for WRN, 0.5 for LeNet).
        gate_lr: learning rate of the gates relative to the recipe's.
    """

    paper: ClassVar[str] = "Louizos et al., ICLR 2018"
    grain: ClassVar[Grain] = "filter"
    own_threshold: ClassVar[float | None] = 0.0
    search: ClassVar[Mapping[str, Search]] = {
        "lambda": LogUniform(1e-4, 1e-1),
        "gate_lr": LogUniform(1.0, 1e3),
    }
    lambda_: float = 1e-3
    weight_decay: float = 5e-4
    drop_rate: float = 0.3
    gate_lr: float = 1.0

    def attach(self, model: nn.Module) -> None:
        """Hang a gate on every gated module."""
        for layer in _gated(model):
            units = layer.outputs if layer.kind == "conv" else layer.inputs
            gate = HardConcrete(units, self.drop_rate).to(module_of(model, layer).weight.device)
            _site(model, layer).register_module("gate", gate)
            if layer.kind == "conv":
                _site(model, layer).register_forward_hook(_gate_maps)
            else:
                _site(model, layer).register_forward_pre_hook(_gate_inputs)

    def penalty(self, model: nn.Module, *, images: int = 1) -> Tensor:
        """Price the groups by the probability that their gate is not zero, over N images."""
        terms = []
        for layer in _gated(model):
            price = sum(
                (self.lambda_ + 0.5 * self.weight_decay * values.square()).sum(1)
                for values in _groups(model, layer)
            )
            terms.append((_gate(model, layer).probability() * price).sum())
        return torch.stack(terms).sum() / images

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup]:
        """Leave the decay of gated weights to the penalty; gates have none."""
        layers = _gated(model)
        gates = [_gate(model, layer).log_alpha for layer in layers]
        weights = [
            parameter
            for layer in layers
            for name, parameter in module_of(model, layer).named_parameters(recurse=False)
            if name == "weight" or layer.kind == "conv"
        ]
        return [ParameterGroup(gates, 0.0, self.gate_lr), ParameterGroup(weights, 0.0)]

    def after_step(self, model: nn.Module, progress: float) -> None:
        """Clamp log alpha to ±log 100, so that a gate can still come back."""
        del progress
        with torch.no_grad():
            for layer in _gated(model):
                _gate(model, layer).log_alpha.clamp_(-LOG_ALPHA_LIMIT, LOG_ALPHA_LIMIT)

    def scores(self, model: nn.Module) -> Scores:
        """Give each group its test-time gate before clipping: at or under 0 it is closed.

        Clipping would make all closed gates equal, and all open ones, where a budget needs
        an order.
        """
        result = {}
        for layer in _gated(model):
            gate = _stretched(_gate(model, layer).log_alpha.detach())
            shape = (-1, 1, 1, 1) if layer.kind == "conv" else (1, -1)
            result[layer.weight] = gate.reshape(shape)
        return result

    def detach(self, model: nn.Module) -> None:
        """Multiply the test-time gates into the parameters that they act on."""
        for layer in _gated(model):
            site = _site(model, layer)
            z = _gate(model, layer).at_test().detach()
            with torch.no_grad():
                for name, parameter in site.named_parameters(recurse=False):
                    if layer.kind == "conv":
                        parameter.mul_(z.reshape(-1, *(1,) * (parameter.dim() - 1)))
                    elif name == "weight":
                        parameter.mul_(z)
            _remove_gate(site)


class HardConcrete(nn.Module):
    """Gates [units] in [0, 1] that are exactly 0 and exactly 1 with positive probability."""

    def __init__(self, units: int, drop_rate: float) -> None:
        super().__init__()
        mean = math.log(1 - drop_rate) - math.log(drop_rate)
        self.log_alpha = nn.Parameter(torch.empty(units).normal_(mean, 0.01))

    def forward(self) -> Tensor:
        """Draw the gates while training (one draw per call), else give those of test time."""
        if not self.training:
            return self.at_test()
        u = torch.empty_like(self.log_alpha).uniform_(EPSILON, 1 - EPSILON)
        noisy = torch.sigmoid((u.log() - (1 - u).log() + self.log_alpha) / BETA)
        return (noisy * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def at_test(self) -> Tensor:
        """Compute the gates without noise (eq. 13): 0 iff log alpha <= -2.398, 1 iff >= 2.398."""
        return _stretched(self.log_alpha).clamp(0, 1)

    def probability(self) -> Tensor:
        """Compute P(z != 0) of each gate (eq. 12)."""
        return torch.sigmoid(self.log_alpha - BETA * math.log(-GAMMA / ZETA))


def _stretched(log_alpha: Tensor) -> Tensor:
    return torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA


def _gated(model: nn.Module) -> list[Layer]:
    """The layers with a gate."""
    structure = structure_of(model)
    hidden = any(layer.kind == "linear" for layer in structure.prunable)
    return [
        layer
        for layer in structure.layers
        if not layer.is_output or (hidden and layer.kind == "linear")
    ]


def _site(model: nn.Module, layer: Layer) -> nn.Module:
    """The module that a layer's gate hangs on: its batch norm where it has one of its own."""
    has_norm = layer.kind == "conv" and layer.norm_after
    return model.get_submodule(layer.norm_after if has_norm and layer.norm_after else layer.name)


def _gate(model: nn.Module, layer: Layer) -> HardConcrete:
    gate = _site(model, layer).gate
    assert isinstance(gate, HardConcrete)  # noqa: S101 -- attach hung it there
    return gate


def _gate_maps(site: nn.Module, _: object, maps: Tensor) -> Tensor:
    """Multiply the output maps [N, C, H, W] of a module by its gates."""
    gate: Tensor = site.gate()  # type: ignore[operator]
    return maps * gate.reshape(1, -1, 1, 1)


def _gate_inputs(site: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Multiply the input units [N, units] of a linear layer by its gates."""
    return (inputs[0] * site.gate(),)  # type: ignore[operator]


def _remove_gate(site: nn.Module) -> None:
    del site.gate
    for hooks in (site._forward_hooks, site._forward_pre_hooks):
        ours = [key for key, hook in hooks.items() if hook in (_gate_maps, _gate_inputs)]
        for key in ours:
            del hooks[key]


def _groups(model: nn.Module, layer: Layer) -> list[Tensor]:
    """The weights behind each gate, [gates, weights]; a convolution's bias belongs to its map."""
    module = module_of(model, layer)
    if layer.kind == "linear":
        return [module.weight.t()]
    bias = [] if module.bias is None else [module.bias.unsqueeze(1)]
    return [module.weight.flatten(1), *bias]
