"""The layers of a traced network, and the batch norms next to them."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, fx, nn

from ssbench.errors import BadInputError
from ssbench.pruning.graph.roles import Role


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer and its neighbours, by module name.

    Attributes:
        norm_before: the batch norm whose scale can move into this layer: only positively
            homogeneous operations are between them, and only prunable layers read it.
        norm_after: the only and direct reader of this layer, if it is a batch norm.
        norm_read: the batch norm whose channels this layer reads: only channel-wise operations that
            keep zero at zero are between them, and only layers read it.
        inside: the operation that uses the weight by itself (an attention), so that the layer is no
            node of the graph: its single weights can be pruned, its channels stay; else empty.
    """

    name: str
    kind: Literal["conv", "linear"]
    outputs: int
    inputs: int
    groups: int
    is_output: bool
    norm_before: str | None
    norm_after: str | None
    norm_read: str | None
    has_bias: bool
    inside: str = ""

    @property
    def weight(self) -> str:
        """The name of the weight, as in ``state_dict()`` of the plain network."""
        return f"{self.name}.weight"

    @property
    def bias(self) -> str:
        """The name of the bias, whether or not the layer has one."""
        return f"{self.name}.bias"

    def columns(self, channels: Tensor) -> Tensor:
        """Expand a vector over the input channels, [channels], to the weight's [out, in/groups].

        A linear layer after a flattening reads each channel at several places: each gets the
        channel's value. The result has one row if all outputs read the same (groups = 1).
        """
        vector = channels.repeat_interleave(self.inputs // channels.numel())
        if self.groups == 1:
            return vector.unsqueeze(0)
        return vector.reshape(self.groups, -1).repeat_interleave(self.outputs // self.groups, 0)


def read_layers(
    graph: fx.Graph, roles: Mapping[fx.Node, Role], modules: Mapping[str, nn.Module]
) -> tuple[Layer, ...]:
    """Read the layers of a traced graph, in call order.

    Raises:
        BadInputError: a layer is called twice or is of an unknown kind, or there is no layer.
    """
    return _Reader(graph, roles, modules).layers()


def read_inner(
    graph: fx.Graph, roles: Mapping[fx.Node, Role], modules: Mapping[str, nn.Module]
) -> tuple[Layer, ...]:
    """Read the linear layers whose weights an operation uses by itself, in call order.

    Functions get the weight as an argument (``F.linear``, torchvision's window attention), torch's
    attention has the module inside.
    """
    called = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    to_output = _Reader(graph, roles, modules).to_output
    found: dict[str, str] = {}
    for node in graph.nodes:
        if roles[node] is not Role.OPAQUE or node in to_output:
            continue
        if isinstance(node.target, types.FunctionType) or node.target is F.linear:
            names = [str(n.target) for n in node.all_input_nodes if n.op == "get_attr"]
            owners = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
            inside = getattr(node.target, "__name__", "")
        elif isinstance(modules.get(str(node.target)), nn.MultiheadAttention):
            owners, inside = [f"{node.target}.out_proj"], str(node.target)
        else:
            continue
        for owner in owners:
            if isinstance(modules.get(owner), nn.Linear) and owner not in called:
                found.setdefault(owner, inside)
    return tuple(_inner(name, modules[name], inside) for name, inside in found.items())


def _inner(name: str, module: nn.Module, inside: str) -> Layer:
    assert isinstance(module, nn.Linear)
    return Layer(
        name, "linear", module.out_features, module.in_features, 1, False, None, None, None,
        module.bias is not None, inside,
    )  # fmt: skip


class _Reader:
    """Reads the layers of a traced graph and their neighbours."""

    def __init__(
        self, graph: fx.Graph, roles: Mapping[fx.Node, Role], modules: Mapping[str, nn.Module]
    ) -> None:
        self.graph, self.roles, self.modules = graph, roles, modules
        self.nodes = [node for node in graph.nodes if roles[node] is Role.LAYER]
        # Nodes whose result reaches the output without passing through a layer.
        self.to_output: set[fx.Node] = set()
        for node in reversed(graph.nodes):
            if any(
                roles[user] is Role.OUTPUT
                or (roles[user] not in (Role.LAYER, Role.SHAPE) and user in self.to_output)
                for user in node.users
            ):
                self.to_output.add(node)

    def layers(self) -> tuple[Layer, ...]:
        names = [str(node.target) for node in self.nodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInputError(f"layer {twice[0]} is called more than once in one forward pass")
        if not names:
            raise BadInputError("the network has no convolution and no linear layer to prune")
        return tuple(self._layer(node) for node in self.nodes)

    def _layer(self, node: fx.Node) -> Layer:
        module = self.modules[str(node.target)]
        conv = isinstance(module, nn.Conv2d)
        if not isinstance(module, nn.Conv2d | nn.Linear):
            raise BadInputError(f"layer {node.target}: {type(module).__name__} is not supported")
        return Layer(
            name=str(node.target),
            kind="conv" if conv else "linear",
            outputs=module.out_channels if conv else module.out_features,  # type: ignore[arg-type]
            inputs=module.in_channels if conv else module.in_features,  # type: ignore[arg-type]
            groups=module.groups if conv else 1,  # type: ignore[arg-type]
            is_output=node in self.to_output,
            norm_before=self._norm_before(node),
            norm_after=self._norm_after(node),
            norm_read=self._norm_read(node),
            has_bias=module.bias is not None,
        )

    def _norm_before(self, node: fx.Node) -> str | None:
        if node in self.to_output:
            return None
        return self._norm_through(node, (Role.HOMOGENEOUS,), outputs=False)

    def _norm_read(self, node: fx.Node) -> str | None:
        return self._norm_through(node, (Role.HOMOGENEOUS, Role.ZERO_AT_ZERO), outputs=True)

    def _norm_through(self, node: fx.Node, between: Sequence[Role], *, outputs: bool) -> str | None:
        """Return the batch norm before some kinds of operations, if only layers read it.

        ``outputs``: whether these may be layers whose result is the network's output.
        """
        source = node.all_input_nodes[0]
        while self.roles[source] in between:
            source = source.all_input_nodes[0]

        def only_layers_read(node: fx.Node) -> bool:
            return all(
                self.roles[user] is Role.SHAPE
                or (self.roles[user] is Role.LAYER and (outputs or user not in self.to_output))
                or (self.roles[user] in between and only_layers_read(user))
                for user in node.users
            )

        if self.roles[source] is not Role.NORM or not only_layers_read(source):
            return None
        return str(source.target)

    def _norm_after(self, node: fx.Node) -> str | None:
        users = [user for user in node.users if self.roles[user] is not Role.SHAPE]
        alone = len(users) == 1 and self.roles[users[0]] is Role.NORM
        return str(users[0].target) if alone else None
