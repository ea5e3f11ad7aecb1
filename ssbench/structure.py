"""What feeds what in a network: traced once with torch.fx, asked by methods, masks and surgery.

>>> structure = Structure.of(model)
>>> [layer.name for layer in structure.prunable]     # every conv and linear layer but the output's
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from ssbench.errors import BadInputError
from ssbench.layers import Layer, read_layers
from ssbench.operations import Role, concatenated, node_role


@dataclass(frozen=True)
class Flow:
    """Which channels carry anything but zero, and which are read: boolean, by module name."""

    read: dict[str, Tensor]
    """By layer, the channels that it reads and that are not silent."""
    emitted: dict[str, Tensor]
    """By layer, the output channels that are not silent."""
    norms: dict[str, Tensor]
    """By batch norm, the channels that are not silent."""
    needed: dict[str, Tensor]
    """By layer, the output channels that reach the network's output."""


@dataclass(frozen=True)
class Structure:
    """The layers of a network in the order of their calls, and the graph between them."""

    layers: tuple[Layer, ...]
    graph: fx.Graph
    roles: Mapping[fx.Node, Role]
    image_channels: int

    @classmethod
    def of(cls, model: nn.Module) -> Structure:
        """Trace ``model``; attached parametrizations do not matter.

        Raises:
            BadInputError: the network branches on its data or calls one layer twice, so that
                what feeds what has no single answer.
        """
        try:
            graph = fx.Tracer().trace(model)
        except Exception as error:  # fx raises many kinds; all mean that the graph is not fixed
            raise BadInputError(
                f"{type(model).__name__} cannot be traced with torch.fx ({error}); "
                "write its forward() without branching on tensors"
            ) from error
        modules = dict(model.named_modules())
        roles = {node: node_role(node, modules) for node in graph.nodes}
        layers = read_layers(graph, roles, modules)
        return cls(layers, graph, roles, layers[0].inputs)

    @property
    def prunable(self) -> tuple[Layer, ...]:
        """Every convolution and linear layer except those whose result is the network's output."""
        return tuple(layer for layer in self.layers if not layer.is_output)

    def flow(self, masks: Mapping[str, Tensor]) -> Flow:
        """Follow silence through the network: a masked weight is zero, and so is what it feeds.

        A batch norm or bias behind a silent channel counts as zero, as the harness sets it.

        Args:
            masks: boolean, by weight name, in the weight's shape; a missing one keeps all.
        """
        kernels = {layer.name: _kernels(layer, masks) for layer in self.layers}
        alive: dict[fx.Node, Tensor] = {}
        read: dict[str, Tensor] = {}
        for node in self.graph.nodes:
            alive[node] = self._forward(node, alive, kernels, read)
        emitted = {n.target: alive[n] for n in self.graph.nodes if self.roles[n] is Role.LAYER}
        norms = {n.target: alive[n] for n in self.graph.nodes if self.roles[n] is Role.NORM}
        return Flow(read, emitted, norms, self._needed(alive, kernels))

    def _forward(
        self,
        node: fx.Node,
        alive: Mapping[fx.Node, Tensor],
        kernels: Mapping[str, Tensor],
        read: dict[str, Tensor],
    ) -> Tensor:
        role, sources = self.roles[node], [alive[source] for source in node.all_input_nodes]
        if role is Role.INPUT:
            return _alive(self.image_channels)
        if role is Role.LAYER:
            layer = self._by_name[str(node.target)]
            vector = sources[0] if layer.inputs % sources[0].numel() == 0 else _alive(layer.inputs)
            read[layer.name] = vector
            lives = (kernels[layer.name] & layer.columns(vector)).any(1)
            return torch.ones_like(lives) if layer.is_output else lives
        if role is Role.CONCATENATE:
            return torch.cat([alive[source] for source in concatenated(node)])
        if role is Role.ADD:
            return torch.stack(_same_width(sources)).any(0)
        if role is Role.MULTIPLY:
            return torch.stack(_same_width(sources)).all(0)
        if role in (Role.NORM, Role.HOMOGENEOUS, Role.ZERO_AT_ZERO):
            return sources[0]
        return torch.ones_like(sources[0]) if sources else _alive(1)

    @property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def _needed(
        self, alive: Mapping[fx.Node, Tensor], kernels: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """By layer, which of its output channels reach the network's output."""
        wanted = {node: torch.zeros_like(alive[node]) for node in self.graph.nodes}
        for node in reversed(self.graph.nodes):
            role, sources = self.roles[node], node.all_input_nodes
            if role is Role.LAYER:
                layer = self._by_name[str(node.target)]
                rows = wanted[node] | layer.is_output
                wants = _columns_wanted(layer, kernels[layer.name] & rows.unsqueeze(1))
                wanted[sources[0]] |= _folded(wants, wanted[sources[0]].numel())
            elif role is Role.CONCATENATE:
                parts = concatenated(node)
                widths = [wanted[part].numel() for part in parts]
                for part, wants in zip(parts, torch.split(wanted[node], widths), strict=True):
                    wanted[part] |= wants
            else:
                for source in sources:
                    passes = role not in (Role.OUTPUT, Role.OPAQUE)
                    passes &= wanted[source].numel() == wanted[node].numel()
                    wanted[source] |= wanted[node] if passes else True
        return {str(n.target): wanted[n] for n in self.graph.nodes if self.roles[n] is Role.LAYER}


def _kernels(layer: Layer, masks: Mapping[str, Tensor]) -> Tensor:
    """Which kernels [out, in/groups] of a layer have a weight left."""
    mask = masks.get(layer.weight)
    if mask is None:
        return torch.ones(layer.outputs, layer.inputs // layer.groups, dtype=torch.bool)
    return mask.flatten(2).any(2).cpu() if mask.dim() > 2 else mask.cpu()


def _columns_wanted(layer: Layer, kernels: Tensor) -> Tensor:
    """Which inputs [inputs] any kernel [out, in/groups] reads."""
    return kernels.reshape(layer.groups, -1, layer.inputs // layer.groups).any(1).reshape(-1)


def _folded(wants: Tensor, channels: int) -> Tensor:
    """Which channels are wanted at any of the places where a flattening put them."""
    if wants.numel() % channels:
        return _alive(channels)
    return wants.reshape(channels, -1).any(1)


def _alive(channels: int) -> Tensor:
    return torch.ones(channels, dtype=torch.bool)


def _same_width(vectors: list[Tensor]) -> list[Tensor]:
    """Broadcast single values; vectors of unlike width cannot be told apart, so all count alive."""
    width = max(vector.numel() for vector in vectors)
    return [v if v.numel() == width else v.new_ones(width) for v in vectors]


_structures: WeakKeyDictionary[nn.Module, Structure] = WeakKeyDictionary()


def structure_of(model: nn.Module) -> Structure:
    """The structure of a network, traced once per network: hooks ask for it at every step."""
    if model not in _structures:
        _structures[model] = Structure.of(model)
    return _structures[model]
