"""The role of each operation between two layers: what it does to a channel."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


class Role(Enum):
    """What an operation does to the channels it reads.

    Attributes:
        LAYER: a convolution or linear layer: mixes channels.
        NORM: a batch norm: scales and shifts each channel by itself.
        HOMOGENEOUS: f(a x) = a f(x) for a > 0, channel by channel: a positive scale can move
            through it.
        ZERO_AT_ZERO: channel by channel with f(0) = 0, but a scale cannot move through it (SiLU,
            ReLU6).
        CHANNELWISE: channel by channel, but a silent channel does not stay silent (sigmoid).
        PART: maps[:, a:b]: some of the channels, in order.
        SHAPE: only asks for sizes: carries no channel and needs none.
        OPAQUE: anything else: its result counts as alive, and everything that it reads as needed.
    """

    INPUT = auto()
    OUTPUT = auto()
    LAYER = auto()
    NORM = auto()
    HOMOGENEOUS = auto()
    ZERO_AT_ZERO = auto()
    CHANNELWISE = auto()
    ADD = auto()
    MULTIPLY = auto()
    CONCATENATE = auto()
    PART = auto()
    SHAPE = auto()
    OPAQUE = auto()


_MODULES: dict[type[nn.Module], Role] = {
    nn.Conv2d: Role.LAYER,
    nn.Linear: Role.LAYER,
    nn.BatchNorm1d: Role.NORM,
    nn.BatchNorm2d: Role.NORM,
    **dict.fromkeys(
        (
            nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Dropout, nn.Dropout2d, nn.Flatten,
            nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
        ),
        Role.HOMOGENEOUS,
    ),
    **dict.fromkeys(
        (
            nn.ReLU6, nn.SiLU, nn.GELU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Tanh, nn.Hardswish,
            nn.Hardtanh,
        ),
        Role.ZERO_AT_ZERO,
    ),
    **dict.fromkeys((nn.Sigmoid, nn.Hardsigmoid), Role.CHANNELWISE),
}  # fmt: skip

_FUNCTIONS: dict[object, Role] = {
    **dict.fromkeys(
        (
            F.relu, F.leaky_relu, F.dropout, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
            F.adaptive_max_pool2d, F.interpolate, torch.flatten, torch.relu, torch.mean,
            torch.reshape,
            "relu", "flatten", "view", "reshape", "mean", "contiguous",
        ),
        Role.HOMOGENEOUS,
    ),
    **dict.fromkeys(
        (torch.sigmoid, F.sigmoid, F.hardsigmoid, "sigmoid", "sigmoid_"), Role.CHANNELWISE
    ),
    **dict.fromkeys((F.relu6, F.silu, F.gelu, F.hardswish, torch.tanh), Role.ZERO_AT_ZERO),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), Role.ADD),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub", "sub_"), Role.ADD),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), Role.MULTIPLY),
    **dict.fromkeys((torch.cat, torch.concat), Role.CONCATENATE),
    **dict.fromkeys(("size", "dim"), Role.SHAPE),
}  # fmt: skip

_BY_NAME = {"stochastic_depth": Role.HOMOGENEOUS, "drop_path": Role.HOMOGENEOUS}
"""Functions of other packages, which need no import this way: they keep or drop a map whole."""


_CLASSES_BY_NAME = {
    **dict.fromkeys(("DropBlock2d", "DropPath"), Role.HOMOGENEOUS),
    **dict.fromkeys(
        (
            "Swish", "SwishMe", "Mish", "HardSwish", "HardSwishMe", "HardMish", "HardMishMe",
            "GELU", "GELUTanh", "QuickGELU", "Tanh",
        ),
        Role.ZERO_AT_ZERO,
    ),
    **dict.fromkeys(("Sigmoid", "HardSigmoid", "HardSigmoidMe"), Role.CHANNELWISE),
}  # fmt: skip
"""timm's own modules inside its batch norms (elsewhere they are traced)."""


def activated(maps: Tensor) -> Tensor:
    """Represent, in a graph, the activation that the batch norm before it has computed."""
    return maps


_WHOLE = (
    nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d,
)  # fmt: skip


class Tracer(fx.Tracer):
    """Treats layers, batch norms and poolings as one operation each, also derived classes.

    Attributes:
        failed_in: the innermost module that could not be traced, as "name (class)"; empty: none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failed_in = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one node of the graph."""
        return isinstance(m, _WHOLE) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace the call of a module, and record the first one that fails."""
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed_in = self.failed_in or f"{self.path_of_module(m)} ({type(m).__name__})"
            raise

    def trace(
        self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
    ) -> fx.Graph:
        """Trace; a batch norm with an activation inside becomes two nodes."""
        graph = super().trace(root, concrete_args)
        assert isinstance(root, nn.Module)
        for node in graph.nodes:
            if node.op == "call_module" and _acts(root.get_submodule(str(node.target))):
                with graph.inserting_after(node):
                    inside = graph.call_function(activated)
                node.replace_all_uses_with(inside)
                inside.args = (node,)
        return graph


def module_role(module: nn.Module) -> Role:
    """Return the role of a module; a parametrized one has that of its original class."""
    role = next((role for kind, role in _MODULES.items() if isinstance(module, kind)), Role.OPAQUE)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and not module.affine:
        return Role.CHANNELWISE  # zeros become -mean/sd, and there is no shift to hold
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        return Role.OPAQUE
    return _CLASSES_BY_NAME.get(type(module).__name__, role) if role is Role.OPAQUE else role


def _acts(module: nn.Module) -> bool:
    """Whether a batch norm contains an activation, like timm's."""
    own = type(module).forward not in (nn.BatchNorm1d.forward, nn.BatchNorm2d.forward)
    return module_role(module) is Role.NORM and own and any(True for _ in module.children())


def _role_inside(module: nn.Module) -> Role:
    """Return the combined role of the modules inside a batch norm."""
    roles = {module_role(child) for child in module.children()}
    by_strictness = (Role.OPAQUE, Role.CHANNELWISE, Role.ZERO_AT_ZERO, Role.HOMOGENEOUS)
    if not roles <= set(by_strictness):
        return Role.OPAQUE
    return next(role for role in by_strictness if role in roles)


def node_roles(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> dict[fx.Node, Role]:
    """Return the role of every node of a traced graph."""
    roles: dict[fx.Node, Role] = {}
    # Results of opaque operations without a layer between: their number of channels is unknown.
    given: set[fx.Node] = set()
    for node in graph.nodes:
        sources = node.all_input_nodes
        if sources and all(roles[source] is Role.SHAPE for source in sources):
            roles[node] = Role.SHAPE  # arithmetic with sizes
            continue
        role = _node_role(node, modules)
        from_given = bool(given.intersection(sources))
        if role is Role.CONCATENATE and from_given:
            role = Role.OPAQUE  # the origin of the result's channels is unknown
        if role is Role.OPAQUE or (from_given and role is not Role.LAYER):
            given.add(node)
        roles[node] = role
    return roles


def _node_role(node: fx.Node, modules: Mapping[str, nn.Module]) -> Role:
    if node.op == "placeholder":
        return Role.INPUT
    if node.op == "output":
        return Role.OUTPUT
    if node.op == "call_module":
        return module_role(modules[str(node.target)])
    if node.op not in ("call_function", "call_method"):
        return Role.OPAQUE
    if node.target is operator.getitem and part_of(node) is not None:
        return Role.PART
    if node.target is activated:
        return _role_inside(modules[str(node.all_input_nodes[0].target)])
    if node.target is getattr and node.args[1] == "shape":
        return Role.SHAPE
    by_name = _BY_NAME.get(getattr(node.target, "__name__", ""), Role.OPAQUE)
    role = _FUNCTIONS.get(node.target, by_name)
    if role is Role.ADD and len(node.all_input_nodes) < 2:
        # Where it adds a constant, a silent channel becomes nonzero.
        return Role.HOMOGENEOUS if _adds_zero(node) else Role.OPAQUE
    if role is Role.CONCATENATE and node.kwargs.get("dim", (*node.args[1:], 0)[0]) != 1:
        return Role.OPAQUE
    keeps = _KEEPS_CHANNELS.get(str(getattr(node.target, "__name__", node.target)))
    return Role.OPAQUE if keeps and not keeps(node) else role


def _adds_zero(node: fx.Node) -> bool:
    """Whether the number in a sum or difference is zero: where a sum begins, or a branch lacks."""
    return [each for each in node.args if not isinstance(each, fx.Node)] == [0]


def _flattens(node: fx.Node) -> bool:
    """Whether [N, C, H, W] becomes [N, C H W]: channels stay together, in order."""
    rest = (*node.args[1:], *node.kwargs.values())
    return rest in ((1,), (1, -1))


def _views_flat(node: fx.Node) -> bool:
    """Whether a new shape does the same: it has two dimensions, as the first must be the batch."""
    shape = node.args[1:]
    if len(shape) == 1 and isinstance(shape[0], list | tuple):
        shape = tuple(shape[0])
    return len(shape) == 2


def _averages_places(node: fx.Node) -> bool:
    """Whether a mean is over places, not over channels or images."""
    dims = node.kwargs.get("dim", (*node.args[1:], None)[0])
    return isinstance(dims, list | tuple) and {d % 4 for d in dims if isinstance(d, int)} == {2, 3}


_KEEPS_CHANNELS = {
    "flatten": _flattens, "view": _views_flat, "reshape": _views_flat, "mean": _averages_places,
}  # fmt: skip
"""Operations that keep channels apart only with some arguments."""


def concatenated(node: fx.Node) -> list[fx.Node]:
    """Return the parts of a concatenation, in order (one tensor may occur twice)."""
    parts = node.args[0] if node.args else node.kwargs["tensors"]
    assert isinstance(parts, list | tuple)  # torch.cat takes nothing else
    return [part for part in parts if isinstance(part, fx.Node)]


def part_of(node: fx.Node) -> slice | None:
    """Return the channels that an index takes, if it takes a range and all of the rest."""
    index = node.args[1] if len(node.args) == 2 else None
    if not isinstance(index, tuple) or len(index) < 2:
        return None
    images, channels, *places = index
    if any(each != slice(None) for each in (images, *places)) or not isinstance(channels, slice):
        return None
    ends = (channels.start, channels.stop)
    plain = channels.step is None and all(end is None or isinstance(end, int) for end in ends)
    return channels if plain else None
