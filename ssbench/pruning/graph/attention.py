"""Find the layers around an attention: what makes its operands, and what reads its result."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import fx

from ssbench.pruning.graph.roles import Role

_PRODUCTS = (
    F.scaled_dot_product_attention, torch.matmul, torch.bmm, torch.baddbmm, torch.einsum,
    operator.matmul,
)  # fmt: skip
_METHODS = ("matmul", "bmm", "baddbmm")


_STOPS = (Role.LAYER, Role.ADD, Role.SHAPE, Role.OUTPUT)
"""Between a layer and its attention are only reshapes, splits, norms and scales."""


def attending_layers(graph: fx.Graph, roles: Mapping[fx.Node, Role]) -> frozenset[str]:
    """Return the layers that make the operands of a product of maps, or read its result."""
    leads: set[fx.Node] = set()
    passed = [node for node in graph.nodes if roles[node] not in _STOPS and not _is_linear(node)]
    for node in reversed(passed):
        if _is_product(node) or leads.intersection(node.users):
            leads.add(node)
    comes: set[fx.Node] = set()
    between = set(passed)
    found: set[str] = set()
    for node in graph.nodes:
        behind = bool(comes.intersection(node.all_input_nodes))
        if roles[node] is Role.LAYER and (behind or leads.intersection(node.users)):
            found.add(str(node.target))
        elif node in between and (behind or _is_product(node)):
            comes.add(node)
    return frozenset(found)


def _is_linear(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is F.linear


def _is_product(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _PRODUCTS
    return node.op == "call_method" and node.target in _METHODS
