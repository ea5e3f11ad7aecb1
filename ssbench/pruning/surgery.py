"""From masks to a smaller network that computes the same, with torch-pruning's dependency graph.

>>> zeros = held(structure, model, masks)      # apply these to the parameters first
>>> small = compact(model, structure, masks, example)

A channel goes where it is *silent* (always zero) or *unneeded* (nobody reads it), together with
all channels that are tied to it by an addition, a depthwise convolution and the like, and only if
these may go too. That changes no output.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ssbench.errors import RunFailedError
from ssbench.pruning.dependency_graph import dependencies
from ssbench.pruning.graph.liveness import Flow
from ssbench.pruning.graph.roles import Role
from ssbench.pruning.graph.structure import Structure


def zeroed_parameters(
    structure: Structure, model: nn.Module, masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Say which parameters must be zero for the masked network to be what the masks mean.

    A channel without incoming weights still emits its bias or the shift of its batch norm; both
    are held at zero with it.

    Args:
        structure: that of ``model``.
        model: the plain network.
        masks: boolean, by weight name, in the weight's shape: True = kept.

    Returns:
        ``masks`` and, for parameters of batch norms and biases of which something is held at zero,
        a mask in their shape, on their device.
    """
    flow = structure.flow(masks)
    parameters = dict(model.named_parameters())
    vectors = {f"{name}.bias": alive for name, alive in flow.emitted.items()}
    for name, alive in flow.norms.items():
        vectors |= {f"{name}.weight": alive, f"{name}.bias": alive}
    result = dict(masks)
    for name, alive in vectors.items():
        if name in parameters and not alive.all():
            # A batch norm behind a flattening has several places for each channel.
            places = parameters[name].numel() // alive.numel()
            result[name] = alive.repeat_interleave(places).to(parameters[name].device)
    return result


def compact(
    model: nn.Module, structure: Structure, masks: Mapping[str, Tensor], example: Tensor
) -> nn.Module:
    """Copy a masked network without its silent and unneeded channels.

    At least one channel of every layer stays: a collapsed layer is a result, not an error.

    Args:
        model: the plain network, its parameters zero wherever ``held`` says so.
        structure: that of ``model``.
        masks: boolean, by weight name, in the weight's shape: True = kept.
        example: one image [1, C, H, W].

    Returns:
        The smaller network, in the modes (training, requires_grad) of ``model``.

    Raises:
        RunFailedError: torch-pruning cannot cut it; names the layer or the operation.
    """
    network = copy.deepcopy(model)
    modes = [(module, module.training) for module in network.modules()]
    trainable = {name: p.requires_grad for name, p in network.named_parameters()}
    flow = structure.flow(masks)
    dead = _dead(structure, flow)
    shears = _Shears(network.requires_grad_(True), structure, dead, example)
    for layer in structure.prunable:
        try:
            shears.cut(layer.name)
        except Exception as error:  # torch-pruning raises any kind
            raise RunFailedError(
                f"{layer.name}: torch-pruning cannot take its channels out "
                f"({type(error).__name__}: {error})"
            ) from error
    for module, training in modes:
        module.training = training
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trainable[name])
    return network


def _dead(structure: Structure, flow: Flow) -> dict[str, Tensor]:
    """By layer, the output channels that may go.

    An opaque operation may mix channels or count them (group norm): what it reads stays whole. One
    that wakes silent channels (a sigmoid) makes them constants, which others may need.
    """
    fixed = _read_by(structure, Role.OPAQUE)
    woken = _read_by(structure, Role.CHANNELWISE)
    found = {}
    for layer in structure.layers:
        name = layer.name
        needed = flow.needed[name]
        lives = needed if name in woken else flow.emitted[name] & needed
        found[name] = torch.zeros_like(lives) if name in fixed else ~lives
    return found


def _read_by(structure: Structure, role: Role) -> set[str]:
    """Layers whose result gets to an operation of a role without passing through a layer."""
    found: set[str] = set()
    reads = {n for n in structure.graph.nodes if structure.roles[n] is role}
    for node in reversed(structure.graph.nodes):
        if structure.roles[node] is Role.LAYER:
            if reads.intersection(node.users):
                found.add(str(node.target))
        elif reads.intersection(node.users):
            reads.add(node)
    return found


def _on_given(structure: Structure) -> set[str]:
    """Layers that read what no layer makes, or a sum or concatenation with it: it stays whole.

    That is the image, and what an opaque operation gives.
    """
    found: set[str] = set()
    given: set[fx.Node] = set()
    for node in structure.graph.nodes:
        sources, role = node.all_input_nodes, structure.roles[node]
        if role is Role.INPUT or (role is Role.OPAQUE and sources):
            given.add(node)
        elif given.intersection(sources) and role is not Role.SHAPE:
            if role is Role.LAYER:
                found.add(str(node.target))
            else:
                given.add(node)
    return found


class _Shears:
    """Removes dead output channels, layer by layer, with all that is tied to them."""

    def __init__(
        self, network: nn.Module, structure: Structure, dead: dict[str, Tensor], example: Tensor
    ) -> None:
        self.modules = dict(network.named_modules())
        self.names = {self.modules[layer.name]: layer.name for layer in structure.layers}
        self.on_given = _on_given(structure)
        self.dead = dead
        self.graph = dependencies(network, structure, example)

    def cut(self, name: str) -> None:
        """Remove the dead output channels of one layer, except those tied to a living one."""
        module = self.modules[name]
        prune = self.graph.get_pruner_of_module(module).prune_out_channels
        roots = set(self.dead[name].nonzero().flatten().tolist())
        while roots:
            group = self.graph.get_pruning_group(module, prune, sorted(roots))
            blocked = {root for item in group for root in self._blocked(item)}
            if not blocked:
                self._prune(group)
                return
            # A channel whose origin is unknown blocks all.
            roots = roots - blocked if blocked & roots else set()

    def _blocked(self, item: Any) -> set[int]:
        """Which of the root's channels must stay for the sake of one member of the group."""
        module, indices = item.dep.target.module, item.idxs
        name = self.names.get(module)
        if name is None:
            return set()
        outward = self.graph.is_out_channel_pruning_fn(item.dep.handler)
        inward = self.graph.is_in_channel_pruning_fn(item.dep.handler)
        if inward and name in self.on_given:
            return set(item.root_idxs)
        width = self.dead[name].numel() if outward else self.graph.get_in_channels(module)
        movable = {i for i in indices if i < width and not (outward and not self.dead[name][i])}
        if isinstance(module, nn.Conv2d) and module.groups > 1 and not (inward and outward):
            movable = _same_in_all_groups(movable, width // module.groups, module.groups)
        if len(movable) == width:
            movable.discard(min(movable))
        return {root for i, root in zip(indices, item.root_idxs, strict=True) if i not in movable}

    def _prune(self, group: Any) -> None:
        for item in group:
            name = self.names.get(item.dep.target.module)
            if name is not None and self.graph.is_out_channel_pruning_fn(item.dep.handler):
                keep = torch.ones_like(self.dead[name])
                keep[item.idxs] = False
                self.dead[name] = self.dead[name][keep]
        group.prune(record_history=False)


def _same_in_all_groups(indices: set[int], size: int, groups: int) -> set[int]:
    """Those channels of a grouped convolution whose place goes in every group of ``size``."""
    places = set(range(size))
    for group in range(groups):
        places &= {i - group * size for i in indices}
    return {i for i in indices if i % size in places}
