"""L0 regularisation with hard concrete gates: Louizos, Welling, Kingma, ICLR 2018.

One gate per output map of a convolution and per input unit of a linear layer. In training, a gate
is drawn once per minibatch (eq. 10 to 12); at test time it is fixed and without noise (eq. 13).

    loss = cross-entropy + sum_g P(z_g != 0) * sum_{w in g} (lambda/N + decay/2 * w^2)

Only lambda is divided by N, the number of training images. The paper's formula divides both, but
its L2 part is N times the weight decay: the authors' WRN and MLP code passes N * weight_decay.
For WRN-28-10 they divide the weight decay of gated layers by 1 - 0.3, the share of gates that is
open at first: 5e-4 / 0.7 = 7.14e-4. Here that is the rule for all networks, with the recipe's
weight decay and ``drop_rate``. The authors' MLP code does not divide, and their LeNet-5 code
passes 5e-4 itself and so decays by 5e-4 / 60,000 = 8.3e-9; ``weight_decay`` gives such values.

A decision of this project: where a batch norm follows the convolution directly, the gate
multiplies the batch norm's output. Before it, a gate in (0, 1] would be divided out again, so that
the task loss could not hold a gate open. The first linear layer behind convolutions and the hidden
ones behind it are gated; a linear output layer is gated only where hidden linear layers precede
it, else its inputs are maps that have a gate already.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

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
        weight_decay: the decay of a weight behind an open gate, as in an optimiser. By default
            the recipe's / (1 - drop_rate).
        drop_rate: initial probability of a closed gate (paper: 0.3 for WRN, 0.5 for LeNet).
        gate_lr: learning rate of the gates relative to the recipe's.
        gates: ``all``, or ``blocks``: only convolutions with a batch norm of their own behind them,
            the first layer apart. In a residual network with pre-activation that is the first
            convolution of each block, which alone the paper gates in WRN-28-10. What has no
            gate is not pruned.
    """

    paper: ClassVar[str] = "Louizos et al., ICLR 2018"
    grain: ClassVar[Grain] = "filter"
    own_threshold: ClassVar[float | None] = 0.0
    search: ClassVar[Mapping[str, Search]] = {
        "lambda": LogUniform(1e-4, 1e-1),
        "gate_lr": LogUniform(1.0, 1e3),
    }
    limits: ClassVar[Mapping[str, tuple[float, float, str]]] = {
        "lambda": (0, 1e4, "it is a price, and divided by the number of images"),
        "weight_decay": (0, 1, "a larger one takes more than the weight itself in a few steps"),
        "drop_rate": (0.001, 0.999, "it is a probability, and log alpha is its logit"),
        "gate_lr": (1e-3, 1e5, "it multiplies the recipe's learning rate"),
    }
    leaves_out: ClassVar[str] = "layers without a gate, where gates = 'blocks'"
    lambda_: float = 1e-3
    weight_decay: float | None = None
    drop_rate: float = 0.3
    gate_lr: float = 1.0
    gates: Literal["all", "blocks"] = "all"

    def attach(self, model: nn.Module) -> None:
        """Hang a gate on every gated module."""
        for layer in _to_gate(model, self.gates):
            units = layer.outputs if layer.kind == "conv" else layer.inputs
            gate = HardConcrete(units, self.drop_rate).to(module_of(model, layer).weight.device)
            site = _site(model, layer)
            site.register_module("gate", gate)
            site.register_forward_pre_hook(_gate_parameters)
            site.register_forward_hook(_free_parameters, always_call=True)
        model.register_forward_pre_hook(_draw_gates)

    def penalty(self, model: nn.Module, *, images: int = 1, weight_decay: float = 0.0) -> Tensor:
        """Price the groups by the probability that their gate is not zero.

        Args:
            model: with its gates.
            images: N.
            weight_decay: the recipe's.
        """
        decay = self.weight_decay
        if decay is None:
            decay = weight_decay / (1 - self.drop_rate)
        layers = _gated(model)
        weights, squares = zip(*(_groups(module_of(model, layer)) for layer in layers), strict=True)
        sizes = torch.cat([torch.full_like(s, n) for n, s in zip(weights, squares, strict=True)])
        price = self.lambda_ / images * sizes + 0.5 * decay * torch.cat(squares)
        log_alpha = torch.cat([_gate(model, layer).log_alpha for layer in layers])
        return _probability(log_alpha).dot(price)

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
        gates = [_gate(model, layer).log_alpha.data for layer in _gated(model)]
        torch._foreach_clamp_min_(gates, -LOG_ALPHA_LIMIT)
        torch._foreach_clamp_max_(gates, LOG_ALPHA_LIMIT)

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
            site, z = _site(model, layer), _gate(model, layer).at_test().detach()
            for name, gated in _gated_parameters(site, z).items():
                site.get_parameter(name).data.copy_(gated)
            del site.gate
            _remove_hooks(site)
        _remove_hooks(model)


class HardConcrete(nn.Module):
    """Gates [units] in [0, 1] that are exactly 0 and exactly 1 with positive probability."""

    def __init__(self, units: int, drop_rate: float) -> None:
        super().__init__()
        mean = math.log(1 - drop_rate) - math.log(drop_rate)
        self.log_alpha = nn.Parameter(torch.empty(units).normal_(mean, 0.01))
        self.drawn: Tensor | None = None  # for the minibatch that passes through the network

    def forward(self) -> Tensor:
        """Give what was drawn for this minibatch, once; at test time the gates without noise."""
        if not self.training:
            return self.at_test()
        drawn, self.drawn = self.drawn, None
        return _draw(self.log_alpha) if drawn is None else drawn

    def at_test(self) -> Tensor:
        """Compute the gates without noise (eq. 13): 0 iff log alpha <= -2.398, 1 iff >= 2.398."""
        return _stretched(self.log_alpha).clamp(0, 1)

    def probability(self) -> Tensor:
        """Compute P(z != 0) of each gate (eq. 12)."""
        return _probability(self.log_alpha)


def _draw(log_alpha: Tensor) -> Tensor:
    """Draw gates (eq. 10 and 11)."""
    u = torch.empty_like(log_alpha).uniform_(EPSILON, 1 - EPSILON)
    return _stretched((u.logit() + log_alpha) / BETA).clamp(0, 1)


def _stretched(log_alpha: Tensor) -> Tensor:
    return torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA


def _probability(log_alpha: Tensor) -> Tensor:
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def _gated(model: nn.Module) -> list[Layer]:
    """The layers that already have a gate."""
    return [layer for layer in structure_of(model).layers if hasattr(_site(model, layer), "gate")]


def _to_gate(model: nn.Module, gates: str) -> list[Layer]:
    """The layers that get a gate."""
    structure = structure_of(model)
    if gates == "blocks":
        found = [
            layer
            for layer in structure.layers[1:]
            if _site(model, layer) != module_of(model, layer)
        ]
        if not found:
            raise ValueError(
                "no convolution has a batch norm of its own behind it; take gates = 'all'"
            )
        return found
    hidden = any(layer.kind == "linear" for layer in structure.prunable)
    return [
        layer
        for layer in structure.layers
        if not layer.is_output or (hidden and layer.kind == "linear")
    ]


def _site(model: nn.Module, layer: Layer) -> nn.Module:
    """The module that a layer's gate hangs on: its batch norm where it has one of its own."""
    norm = model.get_submodule(layer.norm_after) if layer.norm_after else None
    scaled = layer.kind == "conv" and norm is not None and norm.weight is not None
    return norm if norm is not None and scaled else module_of(model, layer)


def _gate(model: nn.Module, layer: Layer) -> HardConcrete:
    gate = _site(model, layer).gate
    assert isinstance(gate, HardConcrete)  # noqa: S101 -- attach hung it there
    return gate


def _draw_gates(model: nn.Module, _: object) -> None:
    """Draw the gates of all layers at once."""
    gates = [module for module in model.modules() if isinstance(module, HardConcrete)]
    if model.training:
        drawn = _draw(torch.cat([gate.log_alpha for gate in gates]))
        for gate in gates:
            gate.drawn, drawn = drawn.tensor_split([len(gate.log_alpha)])


def _gated_parameters(site: nn.Module, gate: Tensor) -> dict[str, Tensor]:
    """Multiply gates into the parameters that their maps are a linear function of.

    That is the same as to multiply the maps (of a linear layer: its inputs), and takes less time.
    """
    if isinstance(site, nn.Linear):
        return {"weight": site.weight * gate}
    parameters = site.named_parameters(recurse=False)
    return {name: p * gate.reshape(-1, *(1,) * (p.dim() - 1)) for name, p in parameters}


def _gate_parameters(site: nn.Module, _: object) -> None:
    """Put the gated parameters before the module's own for the call that follows."""
    vars(site).update(_gated_parameters(site, site.gate()))  # type: ignore[operator]


def _free_parameters(site: nn.Module, *_: object) -> None:
    for name, _parameter in site.named_parameters(recurse=False):
        vars(site).pop(name, None)


def _remove_hooks(module: nn.Module) -> None:
    """Remove this file's hooks from a module."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [k for k, hook in hooks.items() if hook.__module__ == __name__]:
            del hooks[key]
            module._forward_hooks_always_called.pop(key, None)


def _groups(module: nn.Conv2d | nn.Linear) -> tuple[int, Tensor]:
    """Weights behind each gate: their number and sum of squares; a bias belongs to its map."""
    weight = module.weight
    squares = weight.square().sum((0,) if weight.dim() == 2 else (1, 2, 3))
    number = weight.numel() // squares.numel()
    if weight.dim() == 2 or module.bias is None:
        return number, squares
    return number + 1, squares + module.bias.square()
