"""Count parameters, connections and multiply-adds of a network, the units of budgets.

>>> dense = count(model, torch.zeros(1, 3, 32, 32))
>>> dense.params, dense.connections, dense.macs
>>> left = nonzero(dense, model, zeroed_parameters(structure, model, masks))

Uncountable operations raise an error: a number that is too small looks like a good result.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.structure import Structure, structure_of
from ssbench.pruning.inner_macs import inner_macs
from ssbench.pruning.lazy_imports import flop_count_analysis

_COUNTED = (
    "conv", "_convolution_mode", "linear", "addmm", "baddbmm", "bmm", "einsum", "matmul", "mm",
    "scaled_dot_product_attention",
)  # fmt: skip
"""fvcore's names of the operators that ``macs`` counts: convolutions, linear operators and the
matrix products of attention."""

_NORMS = ("batch_norm",)
_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool2d")
"""Counted apart. A batch norm does two operations per element, pooling one per element it reads."""

_FREE = frozenset(
    f"aten::{name}"
    for name in (
        # arithmetic by element
        "abs", "add", "add_", "addcmul", "addcdiv", "ceil", "clamp", "clamp_min", "clamp_max",
        "cos", "div", "div_", "exp", "floor", "floor_divide", "log", "masked_fill",
        "masked_fill_", "mul", "mul_", "ne", "neg", "pow", "reciprocal", "remainder", "round",
        "rsqrt", "rsub", "sin", "sqrt", "square", "sub", "sub_", "where",
        # activations
        "elu", "elu_", "gelu", "glu", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_",
        "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "mish", "mish_",
        "prelu", "relu", "relu6", "relu6_", "relu_", "selu", "selu_", "sigmoid", "sigmoid_",
        "silu", "silu_", "softmax", "softplus", "tanh", "tanh_",
        # sums, extremes and norms
        "amax", "amin", "argmax", "cumprod", "cumsum", "linalg_vector_norm", "max", "maximum",
        "mean", "min", "minimum", "norm", "std", "std_mean", "sum", "topk", "var", "var_mean",
        # shapes and places
        "channel_shuffle", "clone", "contiguous", "copy_", "detach", "expand", "expand_as",
        "fill_", "flatten", "flip", "gather", "im2col", "index", "index_select", "meshgrid",
        "movedim", "new_zeros", "numel", "one_hot", "pad", "permute", "pixel_shuffle",
        "pixel_unshuffle", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll",
        "scatter", "scatter_", "t", "tile", "transpose", "type_as", "unflatten", "unfold", "view",
        "view_as", "zero_",
        "avg_pool1d", "dropout", "dropout_", "feature_dropout", "upsample_bicubic2d",
    )
)  # fmt: skip
"""Operators without a multiply-add of a convolution, linear layer or matrix product: the count
misses nothing."""


@dataclass(frozen=True)
class Counts:
    """The size of a network, for one image.

    Attributes:
        params: numbers in all parameters, without running statistics.
        connections: 2-D kernels of the prunable convolutions plus weights of the prunable linear
            layers.
        macs: multiply-adds of all convolutions, linear layers and matrix products (as in
            attention), without biases and batch norms.
        layer_macs: those of the layers, by module name; the rest of ``macs`` cannot be pruned.
        norm_ops: operations of batch norms in eval mode, two per element; not in ``macs``.
        pool_ops: operations of pooling, one per element that it reads; not in ``macs``.
        uncounted: operators without a count in fvcore (all free ones), with their calls.
        apart: multiply-adds of weights that are no layer, by parameter name: torch's attention has
            one for queries, keys and values.
    """

    params: int
    connections: int
    macs: int
    layer_macs: dict[str, int]
    norm_ops: int
    pool_ops: int
    uncounted: dict[str, int]
    apart: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Nonzero:
    """A network's size with masks."""

    params: int
    connections: int
    macs: int


def count(model: nn.Module, example: Tensor) -> Counts:
    """Count a plain network, in eval mode, on a copy: ``model`` does not change.

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
    layers = {layer.name for layer in structure.layers}
    analysis = _analysed(model, example)
    by_module = analysis.by_module_and_operator()
    _refuse_gaps(model, analysis, structure)
    layer_names = {layer.name for layer in structure.weighted}
    layer_macs = {name: sum(int(by_module[name][op]) for op in _COUNTED) for name in layers}
    inner = inner_macs(model, structure, example)
    layer_macs |= inner
    return Counts(
        params=sum(parameter.numel() for parameter in model.parameters()),
        connections=sum(
            layer.outputs * (layer.inputs // layer.groups) for layer in structure.prunable
        ),
        macs=sum(int(by_module[""][op]) for op in _COUNTED),
        layer_macs={layer.name: layer_macs[layer.name] for layer in structure.weighted},
        norm_ops=sum(int(by_module[""][op]) for op in _NORMS),
        pool_ops=sum(int(by_module[""][op]) for op in _POOLS),
        uncounted={name: int(calls) for name, calls in analysis.unsupported_ops().items()},
        apart={name: macs for name, macs in inner.items() if name not in layer_names},
    )


def _analysed(model: nn.Module, example: Tensor) -> Any:
    """Return fvcore's analysis of a copy of a network, on the CPU as counts need no device."""
    network = copy.deepcopy(model).cpu().eval()
    analysis = flop_count_analysis()(network, example.cpu())
    for name in _POOLS:
        analysis.set_op_handle(f"aten::{name}", _elements_read)
    analysis.set_op_handle("aten::_convolution_mode", _of_convolution)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _of_attention)
    analysis.set_op_handle("aten::baddbmm", _of_batched_product)
    analysis.set_op_handle("aten::einsum", _of_einsum)
    # `_refuse_gaps` reads both later, so fvcore need not log them.
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that hides its parts
    try:
        with torch.no_grad():
            analysis.by_module_and_operator()  # cached in the analysis
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return analysis


def _elements_read(inputs: list[Any], _: list[Any]) -> int:
    """Count the elements that pooling reads, in fvcore's form: traced values in, a number out."""
    return math.prod(_sizes(inputs[0]))


def _of_convolution(inputs: list[Any], outputs: list[Any]) -> int:
    """Count a convolution whose padding is a word, which fvcore does not count."""
    images, _, *places = _sizes(outputs[0])
    return images * math.prod(places) * math.prod(_sizes(inputs[1]))


def _of_attention(inputs: list[Any], _: list[Any]) -> int:
    """Count products of queries [.., L, E] with keys [.., S, E], and of the result with values."""
    *heads, queries, width = _sizes(inputs[0])
    *_, keys, of_values = _sizes(inputs[2])
    return math.prod(heads) * queries * keys * (width + of_values)


def _of_batched_product(inputs: list[Any], _: list[Any]) -> int:
    """Count ``baddbmm``: [B, N, M] with [B, M, P]."""
    return math.prod(_sizes(inputs[1])) * int(_sizes(inputs[2])[-1])


def _of_einsum(inputs: list[Any], _: list[Any]) -> int:
    """Count a product over named axes exactly; fvcore rounds to four digits."""
    operands = [_sizes(value) for value in inputs[1].node().inputs()]
    axes = inputs[0].toIValue().replace(" ", "").split("->")[0].split(",")
    if len(operands) != 2 or "." in "".join(axes):
        raise RunFailedError(f"einsum {inputs[0].toIValue()!r} cannot be counted")
    lengths = [length for operand in operands for length in operand]
    return math.prod(dict(zip("".join(axes), lengths, strict=True)).values())


def _sizes(value: Any) -> list[int]:
    sizes: list[int] = value.type().sizes()
    return sizes


def _refuse_gaps(network: nn.Module, analysis: Any, structure: Structure) -> None:
    """Refuse operators and modules that may multiply and add but were not counted."""
    kind, graph = type(network).__name__, structure.graph
    layers = {layer.name for layer in structure.layers}
    unknown = sorted(set(analysis.unsupported_ops()) - _FREE)
    if unknown:
        where = [f"{name} in {_innermost(analysis, name) or 'forward()'}" for name in unknown]
        raise RunFailedError(f"{kind}: the multiply-adds of {', '.join(where)} cannot be counted")
    modules = dict(network.named_modules())
    # Modules that are never called, but whose weights a function uses.
    used = {str(n.target).rpartition(".")[0] for n in graph.nodes if n.op == "get_attr"}
    called_for = tuple(f"{n}." for n, m in modules.items() if isinstance(m, nn.MultiheadAttention))
    uncalled = sorted(
        name
        for name in analysis.uncalled_modules()
        if name in layers
        or (
            any(True for _ in modules[name].parameters(recurse=False))
            and not name.startswith(called_for or "\0")
            and name not in used
        )
    )
    if uncalled:
        raise RunFailedError(
            f"{kind}: {', '.join(uncalled)} has parameters but is not called, so its multiply-adds "
            "cannot be counted"
        )


def _innermost(analysis: Any, operator: str) -> str:
    """Return the innermost module that calls an operator; of several the first."""
    names = [n for n in analysis.by_module() if analysis.unsupported_ops(n)[operator]]
    return str(max(names, key=lambda name: name.count(".") + bool(name)))


def nonzero(dense: Counts, model: nn.Module, held: Mapping[str, Tensor]) -> Nonzero:
    """Count a network with known zeros.

    Args:
        dense: the result of ``count`` for the same network.
        model: the network, in its dense shapes.
        held: boolean, by parameter name, in the parameter's shape: True = may be nonzero. A
            parameter without an entry counts completely.

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
    for layer in structure.weighted:
        if layer.weight in held:
            # Every weight of a layer is used the same number of times, so the division is exact.
            uses = dense.layer_macs[layer.name] // held[layer.weight].numel()
            macs -= uses * zeros[layer.weight]
    return Nonzero(dense.params - sum(zeros.values()), connections, macs)
