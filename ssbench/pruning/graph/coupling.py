"""Find layers whose channels are tied: a pruned filter leaves only with all its partners.

A sum (or product) of two layers' results ties channel k of one to channel k of the other, and a
depthwise convolution ties its own channel k to the one that it reads. Two layers that read the same
maps are tied by their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.roles import Role

_CHANNELWISE = (Role.NORM, Role.HOMOGENEOUS, Role.ZERO_AT_ZERO, Role.CHANNELWISE)


def tied_outputs(
    graph: fx.Graph, roles: Mapping[fx.Node, Role], layers: tuple[Layer, ...]
) -> dict[str, str]:
    """Return, by layer name, the first layer in call order that its output channels are tied to.

    A sum with the image, with a concatenation or after an unknown operation ties nothing: the
    channels of one side have no partners of their own there.
    """
    by_name = {layer.name: layer for layer in layers}
    order = list(by_name)
    parent = {name: name for name in by_name}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    def tie(names: list[str]) -> None:
        first = min((root(name) for name in names), key=order.index)
        for name in names:
            parent[root(name)] = first

    makers: dict[fx.Node, str | None] = {}
    for node in graph.nodes:
        sources = [makers[source] for source in node.all_input_nodes]
        known = [name for name in sources if name is not None]
        maker: str | None = None
        if roles[node] is Role.LAYER:
            layer = by_name[str(node.target)]
            maker = layer.name
            if known and 1 < layer.groups == layer.inputs == layer.outputs:
                tie([known[0], maker])
        elif roles[node] in _CHANNELWISE:
            maker = known[0] if known else None
        elif roles[node] in (Role.ADD, Role.MULTIPLY) and known:
            if len({by_name[name].outputs for name in known}) == 1:
                tie(known)
            maker = known[0] if len(known) == len(sources) else None
        makers[node] = maker
    return {name: root(name) for name in by_name}


def tied_inputs(
    graph: fx.Graph, roles: Mapping[fx.Node, Role], layers: tuple[Layer, ...]
) -> dict[str, str]:
    """Return, by layer name, the first layer in call order that reads the same channels."""
    by_name = {layer.name: layer for layer in layers}
    first: dict[fx.Node, str] = {}
    result = {}
    for node in graph.nodes:
        if roles[node] is Role.LAYER:
            source = node.all_input_nodes[0]
            while roles[source] in (Role.HOMOGENEOUS, Role.ZERO_AT_ZERO):
                source = source.all_input_nodes[0]
            name = str(node.target)
            leader = first.setdefault(source, name)
            alike = by_name[leader].inputs == by_name[name].inputs
            result[name] = leader if alike else name
    return result
