"""Follow silence forwards through a network, and need backwards.

Each question has two forms, and one walk answers both. With boolean kernels: is this channel alive
under these masks? With kernels of scores: up to which threshold is it alive? A path is as strong as
its weakest kernel, and a channel as its strongest path; `and` and `or` on booleans are minimum and
maximum. So one walk over the scores replaces one walk per threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, fx

from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.roles import Role, concatenated, part_of


class Flow:
    """The channels that carry anything but zero, and those that are read.

    All tensors are vectors over channels, of the dtype of the kernels: boolean, or the score up to
    which the channel lives (infinity: always).

    Attributes:
        read: by layer, the channels that it reads and that are not silent.
        emitted: by layer, the output channels that are not silent.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        graph: fx.Graph,
        roles: Mapping[fx.Node, Role],
        kernels: Mapping[str, Tensor],
        selecting: frozenset[str] = frozenset(),
    ) -> None:
        """Follow silence forwards.

        Args:
            layers: all layers, in call order.
            graph: the traced network.
            roles: of each node.
            kernels: by layer name, [out, in/groups]; a missing one is always alive.
            selecting: batch norms that may read a part of their source.
        """
        self._graph, self._roles, self._selecting = graph, roles, selecting
        self._image_channels = layers[0].inputs
        self._layers = {layer.name: layer for layer in layers}
        self._kernels = dict(kernels)
        self._dtype = next(iter(kernels.values())).dtype if kernels else torch.bool
        self.read: dict[str, Tensor] = {}
        self._alive: dict[fx.Node, Tensor] = {}
        for node in graph.nodes:
            self._alive[node] = self._forward(node)
        self.emitted = self._by_module(Role.LAYER, self._alive)

    @cached_property
    def norms(self) -> dict[str, Tensor]:
        """By batch norm, the channels that are not silent.

        For one that selects what it reads, only those that are also needed.
        """
        norms = self._by_module(Role.NORM, self._alive)
        if self._selecting:
            wanted = self._by_module(Role.NORM, self._wanted)
            norms |= {name: meet(norms[name], wanted[name]) for name in self._selecting}
        return norms

    @cached_property
    def needed(self) -> dict[str, Tensor]:
        """By layer, the output channels that reach the network's output."""
        return self._by_module(Role.LAYER, self._wanted)

    @cached_property
    def wants(self) -> dict[str, Tensor]:
        """By layer, the inputs [inputs] that its needed outputs depend on."""
        needed = self.needed
        return {name: self._wants(layer, needed[name]) for name, layer in self._layers.items()}

    def read_places(self, layer: Layer) -> Tensor:
        """Return which inputs [inputs] of a layer are not silent, by place after a flattening."""
        vector = self.read[layer.name]
        return vector.repeat_interleave(layer.inputs // vector.numel())

    @cached_property
    def _wanted(self) -> dict[fx.Node, Tensor]:
        """By node, the channels that reach the network's output."""
        graph, roles = self._graph, self._roles
        wanted = {node: self._never(self._alive[node].numel()) for node in graph.nodes}
        for node in reversed(graph.nodes):
            role, sources = roles[node], node.all_input_nodes
            if role is Role.SHAPE:
                continue
            if role is Role.MULTIPLY:  # one factor is not needed where the other is zero
                wanted[node] = meet(wanted[node], self._alive[node])
            if role is Role.LAYER:
                wants = self._wants(self._layers[str(node.target)], wanted[node])
                source = sources[0]
                wanted[source] = _join(wanted[source], self._folded(wants, wanted[source].numel()))
            elif role is Role.CONCATENATE:
                parts = concatenated(node)
                widths = [wanted[part].numel() for part in parts]
                for part, wants in zip(parts, torch.split(wanted[node], widths), strict=True):
                    wanted[part] = _join(wanted[part], wants)
            elif role is Role.PART:
                wants = self._never(wanted[sources[0]].numel())
                wants[part_of(node)] = wanted[node]
                wanted[sources[0]] = _join(wanted[sources[0]], wants)
            else:
                for source in sources:
                    passes = role not in (Role.OUTPUT, Role.OPAQUE)
                    passes &= wanted[source].numel() == wanted[node].numel()
                    width = wanted[source].numel()
                    wants = wanted[node] if passes else self._ever(width)
                    wanted[source] = _join(wanted[source], wants)
        return wanted

    def _by_module(self, role: Role, found: Mapping[fx.Node, Tensor]) -> dict[str, Tensor]:
        roles = self._roles
        return {str(n.target): vector for n, vector in found.items() if roles[n] is role}

    def _forward(self, node: fx.Node) -> Tensor:
        role = self._roles[node]
        sources = [self._alive[source] for source in node.all_input_nodes]
        if role is Role.INPUT:
            return self._ever(self._image_channels)
        if role is Role.LAYER:
            return self._layer(self._layers[str(node.target)], sources[0])
        if role is Role.CONCATENATE:
            return torch.cat([self._alive[source] for source in concatenated(node)])
        if role is Role.PART:
            return sources[0][part_of(node)]
        if role is Role.ADD:
            return _strongest(torch.stack(self._same_width(sources)), 0)
        if role is Role.MULTIPLY:
            return torch.stack(self._same_width(sources)).amin(0)
        if role in (Role.NORM, Role.HOMOGENEOUS, Role.ZERO_AT_ZERO):
            return sources[0]
        return self._ever(sources[0].numel() if sources else 1)

    def _layer(self, layer: Layer, source: Tensor) -> Tensor:
        fits = layer.inputs % source.numel() == 0
        vector = source if fits else self._ever(layer.inputs)
        self.read[layer.name] = vector
        if layer.is_output:
            return self._ever(layer.outputs)
        columns = layer.columns(vector)
        if layer.name not in self._kernels:
            return _strongest(columns, 1).expand(layer.outputs).clone()
        return _strongest(meet(self._kernels[layer.name], columns), 1)

    def _wants(self, layer: Layer, wanted: Tensor) -> Tensor:
        """Return which inputs [inputs] a layer needs for its wanted outputs."""
        rows = self._ever(layer.outputs) if layer.is_output else wanted
        width = layer.inputs // layer.groups
        kernels = self._kernels.get(layer.name)
        through = rows.unsqueeze(1)
        if kernels is not None:
            through = meet(kernels, through)
        grouped = through.expand(layer.outputs, width).reshape(layer.groups, -1, width)
        return _strongest(grouped, 1).reshape(-1)

    def _folded(self, wants: Tensor, channels: int) -> Tensor:
        """Return which channels are wanted at any of their places after a flattening."""
        if wants.numel() % channels:
            return self._ever(channels)
        return _strongest(wants.reshape(channels, -1), 1)

    def _same_width(self, vectors: list[Tensor]) -> list[Tensor]:
        """Give vectors one width; narrower ones cannot be matched and count as alive."""
        width = max(vector.numel() for vector in vectors)
        return [v if v.numel() == width else self._ever(width) for v in vectors]

    def _ever(self, channels: int) -> Tensor:
        top = True if self._dtype == torch.bool else float("inf")
        return torch.full((channels,), top, dtype=self._dtype)

    def _never(self, channels: int) -> Tensor:
        bottom = False if self._dtype == torch.bool else float("-inf")
        return torch.full((channels,), bottom, dtype=self._dtype)


def meet(first: Tensor, second: Tensor) -> Tensor:
    """Return `and`, or the lower of two scores; operands broadcast."""
    return first & second if first.dtype == torch.bool else torch.minimum(first, second)


def _join(first: Tensor, second: Tensor) -> Tensor:
    return first | second if first.dtype == torch.bool else torch.maximum(first, second)


def _strongest(values: Tensor, dim: int) -> Tensor:
    return values.any(dim) if values.dtype == torch.bool else values.amax(dim)
