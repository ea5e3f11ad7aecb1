"""What each operation between two layers does to a channel: the table that structure.py reads."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from enum import Enum, auto

import torch
import torch.nn.functional as F
from torch import fx, nn


class Role(Enum):
    """What an operation does to the channels it reads."""

    INPUT = auto()
    OUTPUT = auto()
    LAYER = auto()
    """A convolution or linear layer: mixes channels."""
    NORM = auto()
    """A batch norm: scales and shifts each channel by itself."""
    HOMOGENEOUS = auto()
    """f(a x) = a f(x) for a > 0, channel by channel: a positive scale can be moved through it."""
    ZERO_AT_ZERO = auto()
    """Channel by channel with f(0) = 0, but a scale cannot be moved through it (SiLU, ReLU6)."""
    ADD = auto()
    MULTIPLY = auto()
    CONCATENATE = auto()
    OPAQUE = auto()
    """Anything else: its result is taken to be alive, and all that it reads to be needed."""


_MODULES: dict[type[nn.Module], Role] = {
    nn.Conv2d: Role.LAYER,
    nn.Linear: Role.LAYER,
    nn.BatchNorm1d: Role.NORM,
    nn.BatchNorm2d: Role.NORM,
    **dict.fromkeys(
        (
            nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Dropout, nn.Dropout2d, nn.Flatten,
            nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        ),
        Role.HOMOGENEOUS,
    ),
    **dict.fromkeys(
        (nn.ReLU6, nn.SiLU, nn.GELU, nn.ELU, nn.Tanh, nn.Hardswish, nn.Hardtanh),
        Role.ZERO_AT_ZERO,
    ),
}  # fmt: skip

_FUNCTIONS: dict[object, Role] = {
    **dict.fromkeys(
        (
            F.relu, F.leaky_relu, F.dropout, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
            F.adaptive_max_pool2d, torch.flatten, torch.relu, torch.mean,
            "relu", "flatten", "view", "reshape", "mean", "contiguous",
        ),
        Role.HOMOGENEOUS,
    ),
    **dict.fromkeys((F.relu6, F.silu, F.gelu, F.hardswish, torch.tanh), Role.ZERO_AT_ZERO),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), Role.ADD),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), Role.MULTIPLY),
    **dict.fromkeys((torch.cat, torch.concat), Role.CONCATENATE),
}  # fmt: skip


def module_role(module: nn.Module) -> Role:
    """The role of a module; a parametrized one has that of the class it was made from."""
    return next((role for kind, role in _MODULES.items() if isinstance(module, kind)), Role.OPAQUE)


def node_role(node: fx.Node, modules: Mapping[str, nn.Module]) -> Role:
    """The role of a node of a traced graph."""
    if node.op == "placeholder":
        return Role.INPUT
    if node.op == "output":
        return Role.OUTPUT
    if node.op == "call_module":
        return module_role(modules[str(node.target)])
    if node.op not in ("call_function", "call_method"):
        return Role.OPAQUE
    role = _FUNCTIONS.get(node.target, Role.OPAQUE)
    if role is Role.ADD and len(node.all_input_nodes) < 2:
        return Role.OPAQUE  # a constant is added: a silent channel is silent no more
    if role is Role.CONCATENATE and node.kwargs.get("dim", (*node.args[1:], 0)[0]) != 1:
        return Role.OPAQUE
    return role


def concatenated(node: fx.Node) -> list[fx.Node]:
    """What a concatenation joins, in order (the same tensor may stand there twice)."""
    parts = node.args[0] if node.args else node.kwargs["tensors"]
    assert isinstance(parts, list | tuple)  # noqa: S101 -- torch.cat takes nothing else
    return [part for part in parts if isinstance(part, fx.Node)]
