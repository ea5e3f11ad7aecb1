"""Find channels that must be removed together: torch-pruning's graph of a traced network.

>>> graph = dependencies(network, structure_of(network), example)
>>> graph.get_pruning_group(conv, graph.get_pruner_of_module(conv).prune_out_channels, [0])
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.roles import Role
from ssbench.pruning.graph.structure import Structure
from ssbench.pruning.lazy_imports import torch_pruning


def dependencies(network: nn.Module, structure: Structure, example: Tensor) -> Any:
    """Build torch-pruning's ``DependencyGraph`` of a network.

    Args:
        network: its parameters require gradients, because torch-pruning follows them.
        structure: of ``network``.
        example: one image [1, C, H, W], on any device.

    Raises:
        RunFailedError: torch-pruning cannot follow the network; names the operation if known.
    """
    severed = _Severed(network, structure)
    try:
        return _build(network, severed, example)
    except Exception as error:  # torch-pruning raises any kind
        at = f" at {severed.at.op} {severed.at.target}" if severed.at else ""
        raise RunFailedError(
            f"torch-pruning cannot follow the network{at} "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def _build(network: nn.Module, severed: _Severed, example: Tensor) -> Any:
    example = example.to(next(network.parameters()).device)
    # Not verbose: fx has already handled parameters outside modules and unknown operations, and
    # the certificate checks the result.
    with torch.enable_grad():
        return (
            torch_pruning()
            .DependencyGraph()
            .build_dependency(
                network,
                (example,),
                forward_fn=lambda _, images: severed.run(*images),
                verbose=False,
            )
        )


class _Severed(fx.Interpreter):
    """Runs a network and detaches the results of every opaque operation.

    Surgery does not change the inputs of such an operation (see `ssbench.pruning.surgery`) or the
    channels of its results. So torch-pruning, which follows gradients, must not follow them through
    it, and need not guess what a reshape or shuffle does to channels.
    """

    def __init__(self, network: nn.Module, structure: Structure) -> None:
        super().__init__(network, graph=structure.graph)
        self.roles = structure.roles
        self.ends: list[Tensor] = []
        self.at: fx.Node | None = None
        """The current operation."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation; the output node also returns the inputs of opaque operations."""
        self.at = n
        result = super().run_node(n)
        self.at = None
        if self.roles[n] is Role.OUTPUT:
            return [result, *self.ends]
        if self.roles[n] is not Role.OPAQUE or not n.all_input_nodes:
            return result
        read = [self.env[source] for source in n.all_input_nodes]
        self.ends += [t for t in read if isinstance(t, Tensor) and t.grad_fn is not None]
        return tree_map(_cut_off, result)


def _cut_off(value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    # A copy, as what follows may work in place, which torch allows on no leaf.
    return value.detach().requires_grad_().clone() if floating else value
