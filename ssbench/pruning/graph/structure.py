"""What feeds what in a network: one trace with torch.fx for methods, masks and surgery.

>>> structure = Structure.of(model)
>>> [layer.name for layer in structure.prunable]     # every conv and linear layer but the output's
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from ssbench.errors import BadInputError
from ssbench.pruning.graph import roles as roles_
from ssbench.pruning.graph.attention import attending_layers
from ssbench.pruning.graph.channels import Channels, read_channels, selecting_norms
from ssbench.pruning.graph.coupling import tied_inputs, tied_outputs
from ssbench.pruning.graph.layers import Layer, read_inner, read_layers
from ssbench.pruning.graph.liveness import Flow
from ssbench.pruning.graph.roles import Role, Tracer, node_roles


@dataclass(frozen=True)
class Structure:
    """The layers of a network in call order, and the graph between them.

    Attributes:
        inner: linear layers that are no nodes of the graph; see `Layer.inside`.
    """

    layers: tuple[Layer, ...]
    graph: fx.Graph
    roles: Mapping[fx.Node, Role]
    inner: tuple[Layer, ...] = ()

    @classmethod
    def of(cls, model: nn.Module) -> Structure:
        """Trace ``model``; attached parametrizations do not matter.

        Raises:
            BadInputError: the network branches on its data or calls one layer twice, so its graph
                is not unique.
        """
        modes = [(module, module.training) for module in model.modules()]
        tracer = Tracer()
        try:
            # In training mode some modules behave like another network (dropout, second outputs).
            graph = tracer.trace(model.eval())
        except Exception as error:  # fx raises many kinds; all mean that the graph is not fixed
            raise BadInputError(_untraceable(model, tracer, error)) from error
        finally:
            for module, training in modes:
                module.training = training
        modules = dict(model.named_modules())
        for node in graph.nodes:
            if node.op == "get_attr":
                node.meta["numel"] = _numel(model, str(node.target))
            elif node.op == "call_module":
                node.meta["maps"] = isinstance(modules[str(node.target)], nn.BatchNorm2d)
        roles = node_roles(graph, modules)
        layers = read_layers(graph, roles, modules)
        return cls(layers, graph, roles, read_inner(graph, roles, modules))

    @property
    def prunable(self) -> tuple[Layer, ...]:
        """Every convolution and linear layer except those that make the network's output."""
        return tuple(layer for layer in self.weighted if not layer.is_output)

    @property
    def weighted(self) -> tuple[Layer, ...]:
        """The layers of the graph, then those inside other operations."""
        return (*self.layers, *self.inner)

    @cached_property
    def tied_outputs(self) -> dict[str, str]:
        """By layer, the first layer that its output channels are tied to; or itself."""
        return tied_outputs(self.graph, self.roles, self.layers)

    @cached_property
    def tied_inputs(self) -> dict[str, str]:
        """By layer, the first layer that reads the same channels; or itself."""
        return tied_inputs(self.graph, self.roles, self.layers)

    @cached_property
    def channels(self) -> Channels:
        """The classes of channels that leave the network together."""
        return read_channels(self.graph, self.roles, self.layers)

    @cached_property
    def selecting(self) -> frozenset[str]:
        """Batch norms that may read a part of the channels before them."""
        return selecting_norms(self.graph, self.roles)

    @cached_property
    def attending(self) -> frozenset[str]:
        """Layers that make queries, keys or values, and those that read what attention returns."""
        return frozenset(layer.name for layer in self.inner) | attending_layers(
            self.graph, self.roles
        )

    def read_by(self, role: Role) -> frozenset[str]:
        """Return layers whose result reaches an operation of a role without another layer."""
        names: set[str] = set()
        reads = {node for node in self.graph.nodes if self.roles[node] is role}
        for node in reversed(self.graph.nodes):
            if self.roles[node] is Role.LAYER:
                if reads.intersection(node.users):
                    names.add(str(node.target))
            elif reads.intersection(node.users):
                reads.add(node)
        return frozenset(names)

    def flow(self, masks: Mapping[str, Tensor]) -> Flow:
        """Follow silence through the network: a masked weight is zero, and so is its result.

        A batch norm or bias after a silent channel counts as zero, as ssbench sets it.

        Args:
            masks: boolean, by weight name, in the weight's shape; a missing one keeps all.
        """
        kernels = {layer.name: _kernels(layer, masks) for layer in self.layers}
        return Flow(self.layers, self.graph, self.roles, kernels, self.selecting)

    def survival(self, kernels: Mapping[str, Tensor]) -> Flow:
        """Return up to which threshold each channel lives, for all thresholds at once.

        Args:
            kernels: scores of kernels, by layer name, [out, in/groups]; a missing layer is never
                pruned.
        """
        return Flow(self.layers, self.graph, self.roles, kernels, self.selecting)


def _numel(model: nn.Module, name: str) -> int:
    owner, _, own = name.rpartition(".")
    value = getattr(model.get_submodule(owner), own)
    return value.numel() if isinstance(value, Tensor) else 0


def _untraceable(model: nn.Module, tracer: Tracer, error: Exception) -> str:
    """Return which module of a network torch.fx cannot trace, and at which line of its code."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename and frame.filename not in (__file__, roles_.__file__)
    ]
    place = ""
    if frames:
        place = f" at `{frames[-1].line}` ({Path(frames[-1].filename).name}, {frames[-1].lineno})"
    return (
        f"{type(model).__name__} cannot be traced with torch.fx: "
        f"{tracer.failed_in or 'forward()'}{place}: {str(error).strip().splitlines()[0]}; write "
        "forward() without branching on tensors or their shapes"
    )


def _kernels(layer: Layer, masks: Mapping[str, Tensor]) -> Tensor:
    """Return which kernels [out, in/groups] of a layer have a weight left."""
    mask = masks.get(layer.weight)
    if mask is None:
        return torch.ones(layer.outputs, layer.inputs // layer.groups, dtype=torch.bool)
    return mask.flatten(2).any(2).cpu() if mask.dim() > 2 else mask.cpu()


_structures: WeakKeyDictionary[nn.Module, Structure] = WeakKeyDictionary()


def structure_of(model: nn.Module) -> Structure:
    """Return the structure of a network; cached, as hooks ask for it at every step."""
    if model not in _structures:
        _structures[model] = Structure.of(model)
    return _structures[model]
