"""Plan surgery on a masked network: which channels stay, and how large the rest is.

>>> cut = plan(structure, masks)
>>> cut.outputs("conv1"), cut.inputs("conv2")      # boolean, True: stays
>>> sizes(cut, dense, shapes).macs

A channel goes if it is silent (always zero) or unneeded (no layer reads it), with all channels of
its class, and only if all of them may go. A grouped convolution loses whole groups, and then each
group keeps as many channels as the fullest one. `ssbench.pruning.surgery` follows the same plan, so
the sizes here are those of its network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssbench.pruning.counting import Counts, Nonzero
from ssbench.pruning.graph.channels import Channels
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.liveness import Flow
from ssbench.pruning.graph.roles import Role
from ssbench.pruning.graph.structure import Structure


@dataclass(frozen=True)
class Cut:
    """The channels that stay.

    Attributes:
        alive: whether each class of channels stays.
    """

    structure: Structure
    alive: Tensor

    @property
    def channels(self) -> Channels:
        """The classes of channels that ``alive`` refers to."""
        return self.structure.channels

    def outputs(self, layer: str) -> Tensor:
        """Return which output channels [outputs] of a layer stay."""
        return self.alive[self.channels.outputs[layer]]

    def inputs(self, layer: Layer) -> Tensor:
        """Return which inputs [inputs] of a layer stay; for a linear one, flattened places."""
        classes = self.channels.inputs[layer.name]
        if classes is None:
            return torch.ones(layer.inputs, dtype=torch.bool)
        return self.alive[classes]

    def groups(self, layer: Layer) -> Tensor:
        """Return which groups [groups] of a convolution stay."""
        rows = self.outputs(layer.name).reshape(layer.groups, -1).any(1)
        return rows | self.inputs(layer).reshape(layer.groups, -1).any(1)

    def kernels(self, layer: Layer) -> Tensor:
        """Return which kernels [out, in/groups] of a layer stay."""
        columns = self.inputs(layer).reshape(layer.groups, -1)
        columns = columns.repeat_interleave(layer.outputs // layer.groups, 0)
        return self.outputs(layer.name).unsqueeze(1) & columns

    def selected(self, point: str) -> Tensor | None:
        """Return the indices that a selection point reads of the channels before it; None: all.

        After a flattening they are indices of the places of the channels that stay.
        """
        source = self.alive[self.channels.sources[point]]
        own = self.channels.norms.get(point, self.channels.inputs.get(point))
        read = self.alive[own][source]
        return None if read.all() else read.nonzero().flatten()


def plan(
    structure: Structure,
    masks: Mapping[str, Tensor],
    prefer: Tensor | None = None,
    *,
    one_each: bool = True,
) -> Cut:
    """Plan what surgery leaves.

    Args:
        structure: of the network.
        masks: boolean, by weight name, in the weight's shape: True = kept.
        prefer: by class of channels [count]: of dead ones, the higher stay first if some must
            stay; by default the first in order.
        one_each: keep one channel of every layer, so that the network can run. Without it the sizes
            count only what computes something.
    """
    channels, flow = structure.channels, structure.flow(masks)
    alive = channels.fixed.clone()
    for name, lives in _living(structure, flow).items():
        alive[channels.outputs[name][lives]] = True
    for name, classes in channels.norms.items():
        if name in channels.sources:
            alive[classes[flow.norms[name]]] = True
    for layer in structure.layers:
        if layer.name in channels.sources:
            places = channels.inputs[layer.name]
            assert places is not None
            alive[places[flow.wants[layer.name] & flow.read_places(layer)]] = True
    ranks = torch.zeros(channels.count) if prefer is None else prefer
    cut, before = Cut(structure, alive), -1
    while before != (before := int(alive.count_nonzero())):
        _settle(cut, ranks, one_each=one_each)
    return cut


def sizes(cut: Cut, dense: Counts, shapes: Mapping[str, torch.Size]) -> Nonzero:
    """Count the remaining network without building it.

    Args:
        cut: the channels that stay.
        dense: the counts of the dense network.
        shapes: of its parameters, by name.
    """
    params, connections, macs = dense.params, dense.connections, dense.macs
    for layer in cut.structure.layers:
        rows, columns = cut.outputs(layer.name), cut.inputs(layer)
        kernels = int(rows.sum()) * int(columns.sum()) // max(int(cut.groups(layer).sum()), 1)
        whole = layer.outputs * (layer.inputs // layer.groups)
        weight = shapes[layer.weight].numel()
        gone = (whole - kernels) * (weight // whole)
        params -= gone + (int((~rows).sum()) if layer.has_bias else 0)
        macs -= gone * (dense.layer_macs[layer.name] // weight)
        connections -= 0 if layer.is_output else whole - kernels
    for name, classes in (cut.channels.norms | cut.channels.vectors).items():
        for parameter in (f"{name}.weight", f"{name}.bias"):
            if parameter in shapes and shapes[parameter].numel() >= classes.numel():
                places = shapes[parameter].numel() // classes.numel()
                params -= places * int((~cut.alive[classes]).sum())
    return Nonzero(params, connections, macs)


def _living(structure: Structure, flow: Flow) -> dict[str, Tensor]:
    """Return the output channels, by layer, that are needed and not silent.

    A silent channel that an operation makes nonzero (a sigmoid) is a constant that others may need.
    """
    woken = structure.read_by(Role.CHANNELWISE)
    return {
        layer.name: flow.needed[layer.name]
        if layer.name in woken
        else flow.emitted[layer.name] & flow.needed[layer.name]
        for layer in structure.layers
    }


def _settle(cut: Cut, ranks: Tensor, *, one_each: bool) -> None:
    """Keep, in place, what the living channels require; call until nothing changes."""
    alive, channels = cut.alive, cut.channels
    for point, source in channels.sources.items():
        own = channels.norms.get(point, channels.inputs.get(point))
        alive[source[alive[own]]] = True
    for layer in cut.structure.layers:
        ends = [channels.outputs[layer.name], channels.inputs[layer.name]]
        if one_each:
            for classes in ends:
                if classes is not None and not alive[classes].any():
                    alive[classes[ranks[classes].argmax()]] = True
        if layer.groups > 1:
            groups = cut.groups(layer)
            for classes in ends:
                if classes is not None and groups.any():
                    _level(alive, ranks, classes.reshape(layer.groups, -1)[groups])


def _level(alive: Tensor, ranks: Tensor, classes: Tensor) -> None:
    """Keep as many channels in each group [groups, channels] as in the fullest one."""
    counts = alive[classes].sum(1)
    most = max(int(counts.max()), 1)
    if int(counts.min()) == most:
        return
    for row, count in zip(classes, counts.tolist(), strict=True):
        if count < most:
            dead = row[~alive[row]]
            order = ranks[dead].argsort(descending=True, stable=True)
            alive[dead[order[: most - count]]] = True
