"""Count parameters, connections and multiply-adds of a network, the units of budgets.

>>> dense = count(model, torch.zeros(1, 3, 32, 32))
>>> dense.params, dense.connections, dense.macs
>>> left = nonzero(dense, model, held(structure, model, masks))

What cannot be counted raises: a number that is too small would look like a good result.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.structure import Structure, structure_of
from ssbench.pruning.lazy_imports import flop_count_analysis

_COUNTED = ("conv", "linear")
"""fvcore's names of the operators whose multiply-adds are counted."""

_NORMS = ("batch_norm",)
_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool2d")
"""Counted apart. A batch norm does two operations per element, pooling one per element it reads."""

_UNCLAIMED = ("addmm", "bmm", "einsum", "matmul", "mm")
"""Operators with multiply-adds outside of layers; leaving them out would give too small numbers."""

_FREE = frozenset(
    f"aten::{name}"
    for name in (
        "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "pow", "sqrt", "rsqrt",
        "sum", "mean", "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "prelu", "elu",
        "elu_", "gelu", "silu", "silu_", "tanh",
        "sigmoid", "sigmoid_", "hardtanh", "hardtanh_", "hardswish", "hardswish_", "hardsigmoid",
        "hardsigmoid_", "softmax", "log_softmax", "flatten", "view", "reshape", "permute",
        "transpose", "contiguous", "pad", "channel_shuffle", "dropout", "dropout_",
        "feature_dropout", "clone", "detach", "index_select",
    )
)  # fmt: skip
"""Operators without multiply-adds of a convolution or linear layer."""


@dataclass(frozen=True)
class Counts:
    """The size of a network, for one image."""

    params: int
    """Number of parameters (running statistics do not count)."""
    connections: int
    """2-D kernels of the prunable convolutions plus weights of the prunable linear layers."""
    macs: int
    """Multiply-adds of all convolutions and linear layers, without biases and batch norms."""
    layer_macs: dict[str, int]
    """The same, by module name."""
    norm_ops: int
    """Operations of batch norms in eval mode, two per element; not in ``macs``."""
    pool_ops: int
    """Operations of pooling, one per element read; not in ``macs``."""
    uncounted: dict[str, int]
    """Operators without a count in fvcore (all free ones), and the number of their calls."""


@dataclass(frozen=True)
class Nonzero:
    """The size of a network under masks."""

    params: int
    connections: int
    macs: int


def count(model: nn.Module, example: Tensor) -> Counts:
    """Count a plain network in eval mode, on a copy of ``model``.

    Args:
        model: the network, without gates or parametrizations.
        example: one image [1, C, H, W].

    Raises:
        BadInputError: the network cannot be traced.
        RunFailedError: an operator or a module cannot be counted.
    """
    if example.shape[0] != 1:
        raise RunFailedError(f"counting takes one image, not a batch of {example.shape[0]}")
    structure = Structure.of(model)
    network = copy.deepcopy(model).cpu().eval()  # counts do not depend on the device
    with torch.no_grad():
        analysis = flop_count_analysis()(network, example.cpu())
        for name in _POOLS:
            analysis.set_op_handle(f"aten::{name}", _elements_read)
        # Both are checked below, so fvcore need not log them.
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module = analysis.by_module_and_operator()
    layers = {layer.name for layer in structure.layers}
    _refuse_gaps(network, analysis, layers)
    layer_macs = {name: sum(int(by_module[name][op]) for op in _COUNTED) for name in layers}
    total = sum(int(by_module[""][op]) for op in _COUNTED)
    if total != sum(layer_macs.values()):
        raise RunFailedError(
            f"{type(model).__name__} has {total - sum(layer_macs.values())} multiply-adds in "
            "convolutions or linear operators outside nn.Conv2d and nn.Linear"
        )
    return Counts(
        params=sum(parameter.numel() for parameter in model.parameters()),
        connections=sum(
            layer.outputs * (layer.inputs // layer.groups) for layer in structure.prunable
        ),
        macs=total,
        layer_macs={layer.name: layer_macs[layer.name] for layer in structure.layers},
        norm_ops=sum(int(by_module[""][op]) for op in _NORMS),
        pool_ops=sum(int(by_module[""][op]) for op in _POOLS),
        uncounted={name: int(calls) for name, calls in analysis.unsupported_ops().items()},
    )


def _elements_read(inputs: list[Any], _: list[Any]) -> int:
    """Count the elements of the first input, in fvcore's form of a counter."""
    count = 1
    for size in inputs[0].type().sizes():
        count *= size
    return count


def _refuse_gaps(network: nn.Module, analysis: Any, layers: set[str]) -> None:
    """Raise if an operator with possible multiply-adds has not been counted."""
    kind = type(network).__name__
    unknown = sorted(set(analysis.unsupported_ops()) - _FREE)
    unclaimed = sorted(name for name in _UNCLAIMED if analysis.by_operator()[name])
    if unknown or unclaimed:
        raise RunFailedError(
            f"{kind}: the multiply-adds of {', '.join(unknown + unclaimed)} cannot be counted"
        )
    modules = dict(network.named_modules())
    uncalled = sorted(
        name
        for name in analysis.uncalled_modules()
        if name in layers or any(True for _ in modules[name].parameters(recurse=False))
    )
    if uncalled:
        raise RunFailedError(
            f"{kind}: {', '.join(uncalled)} has parameters but is not called, so that its "
            "multiply-adds cannot be counted"
        )


def nonzero(dense: Counts, model: nn.Module, held: Mapping[str, Tensor]) -> Nonzero:
    """Count a network under keep masks.

    Args:
        dense: the result of ``count`` for the same network.
        model: the network, in its dense shapes.
        held: boolean, by parameter name, in the parameter's shape; True: may be nonzero. Parameters
            without an entry count whole.

    Raises:
        RunFailedError: an entry names no parameter or has another shape.
    """
    parameters = dict(model.named_parameters())
    for name, mask in held.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise RunFailedError(f"a mask of shape {tuple(mask.shape)} fits no parameter {name!r}")
    structure = structure_of(model)
    zeros = {name: mask.numel() - int(mask.count_nonzero()) for name, mask in held.items()}
    connections = dense.connections
    for layer in structure.prunable:
        if layer.weight in held:
            kernels = held[layer.weight].reshape(layer.outputs, layer.inputs // layer.groups, -1)
            connections -= len(kernels.flatten(0, 1)) - int(kernels.any(2).count_nonzero())
    macs = dense.macs
    for layer in structure.layers:
        if layer.weight in held:
            # Every weight of a layer is used equally often, so this division is exact.
            uses = dense.layer_macs[layer.name] // held[layer.weight].numel()
            macs -= uses * zeros[layer.weight]
    return Nonzero(dense.params - sum(zeros.values()), connections, macs)
