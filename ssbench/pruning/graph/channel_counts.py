"""Where a network asks for the number of its channels: the answer is another one after surgery.

>>> batch, channels, height, width = maps.shape
>>> others.reshape(batch, channels, height, width)    # fits only while all channels of maps stay
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

from torch import fx

from ssbench.pruning.graph.roles import Role

_CHANNELS = 1
"""The dimension of channels in [N, C, H, W] and [N, C]."""


def counted_channels(graph: fx.Graph, roles: Mapping[fx.Node, Role]) -> dict[fx.Node, set[fx.Node]]:
    """By node that holds sizes, the maps whose number of channels is among them or went into them.

    Args:
        graph: a traced network.
        roles: of its nodes.
    """
    whole: dict[fx.Node, fx.Node] = {}
    """By node that holds all sizes of maps, the maps."""
    counted: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        if roles[node] is not Role.SHAPE:
            continue
        sources = node.all_input_nodes
        if roles[sources[0]] is not Role.SHAPE:
            counted[node] = {sources[0]} if _asks_for_channels(node) else set()
            if node.target is getattr or (node.target == "size" and len(node.args) == 1):
                whole[node] = sources[0]
        elif node.target is operator.getitem and sources[0] in whole:
            counted[node] = counted[sources[0]] if _takes_channels(node.args[1]) else set()
        else:
            counted[node] = set().union(*(counted[source] for source in sources))
    return counted


def _asks_for_channels(node: fx.Node) -> bool:
    if node.target != "size":
        return node.target is getattr
    dims = (*node.args[1:], *node.kwargs.values())
    return not dims or _takes_channels(dims[0])


def _takes_channels(index: object) -> bool:
    """Whether an index into the sizes of [N, C, H, W] takes that of the channels."""
    ends = (index.start, index.stop, index.step) if isinstance(index, slice) else (index,)
    if not all(end is None or isinstance(end, int) for end in ends):
        return True  # an end that is known only when the network runs
    if isinstance(index, slice):
        return _CHANNELS in range(4)[index]
    return index in (_CHANNELS, _CHANNELS - 4)
