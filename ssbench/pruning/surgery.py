"""Turn masks into a smaller network that computes the same.

>>> zeros = zeroed_parameters(structure, model, masks)  # apply these to the parameters first
>>> small = compact(model, structure, masks)

`ssbench.pruning.cuts` plans which channels go; removing them changes no output.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssbench.models.channel_selection import insert_selection, match_widths
from ssbench.pruning.cuts import Cut, plan
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.structure import Structure


def zeroed_parameters(
    structure: Structure, model: nn.Module, masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return which parameters must be zero so that the network computes what the masks mean.

    A channel without incoming weights still emits its bias or the shift of its batch norm, so both
    become zero with it.

    Args:
        structure: of ``model``.
        model: the plain network.
        masks: boolean, by weight name, in the weight's shape: True = kept.

    Returns:
        ``masks`` and, for batch norms and biases with zeros, a mask in their shape, on their
        device.
    """
    flow = structure.flow(masks)
    parameters = dict(model.named_parameters())
    vectors = {f"{name}.bias": alive for name, alive in flow.emitted.items()}
    for name, alive in flow.norms.items():
        vectors |= {f"{name}.weight": alive, f"{name}.bias": alive}
    result = dict(masks)
    for name, alive in vectors.items():
        if name in parameters and not alive.all():
            # A batch norm after a flattening has several places per channel.
            places = parameters[name].numel() // alive.numel()
            result[name] = alive.repeat_interleave(places).to(parameters[name].device)
    return result


def compact(model: nn.Module, structure: Structure, masks: Mapping[str, Tensor]) -> nn.Module:
    """Copy a masked network without its silent and unneeded channels.

    At least one channel of every layer stays: a collapsed layer is a result, not an error.

    Args:
        model: the plain network, its parameters zero wherever ``zeroed_parameters`` says so.
        structure: of ``model``.
        masks: boolean, by weight name, in the weight's shape: True = kept.

    Returns:
        The smaller network, in the modes (training, requires_grad) of ``model``.
    """
    network = copy.deepcopy(model)
    cut = plan(structure, masks)
    for layer in structure.layers:
        _cut_layer(network.get_submodule(layer.name), layer, cut)
    for name, classes in (cut.channels.norms | cut.channels.vectors).items():
        _cut_vectors(network.get_submodule(name), cut.alive[classes])
    for point in cut.channels.sources:
        index = cut.selected(point)
        if index is not None:
            insert_selection(network, point, index)
    return network


def _cut_layer(module: nn.Module, layer: Layer, cut: Cut) -> None:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    rows, groups = cut.outputs(layer.name), cut.groups(layer)
    columns = cut.inputs(layer).reshape(layer.groups, -1)[groups]
    each = layer.outputs // layer.groups
    weight = module.weight[groups.repeat_interleave(each).to(module.weight.device)]
    # All groups have equally many columns, but different ones.
    parts = zip(torch.split(weight, each), columns, strict=True)
    left = torch.cat([part[:, chosen.to(part.device)] for part, chosen in parts])
    within = rows[groups.repeat_interleave(each)].to(left.device)
    _put(module, "weight", left[within])
    if module.bias is not None:
        _put(module, "bias", module.bias[rows.to(left.device)])
    if isinstance(module, nn.Conv2d):
        module.groups = int(groups.sum())
    match_widths(module)


def _cut_vectors(module: nn.Module, lives: Tensor) -> None:
    """Cut a module's per-channel parameters and running statistics."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    for name, tensor in own:
        # After a flattening there are several places per channel.
        places, left = divmod(tensor.numel(), lives.numel())
        if tensor.dim() == 1 and places and not left:
            _put(module, name, tensor[lives.repeat_interleave(places).to(tensor.device)])
    match_widths(module)


def _put(module: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    value = value.detach().contiguous()
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(value, old.requires_grad)
    setattr(module, name, value)
