"""Keep pruned parameters at zero while a network is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


def keep_masked(model: nn.Module, held: Mapping[str, Tensor]) -> Callable[[float], None]:
    """Make an ``after_step`` that keeps parameters at zero wherever ``held`` is False.

    Args:
        model: the network; weights may be parametrized.
        held: boolean keep masks by parameter name of the plain network, in the parameter's shape.
    """
    plain = dict(model.named_parameters())
    names = [name for name in held if name in plain]
    parameters = [plain[name].data for name in names]
    masks = [
        held[name].to(parameter).contiguous(memory_format=_format(parameter))
        for name, parameter in zip(names, parameters, strict=True)
    ]
    device = next(iter(plain.values())).device
    rewritten = [
        (*_owner(model, name), mask.to(device)) for name, mask in held.items() if name not in plain
    ]

    def after_step(_: float) -> None:
        if parameters:
            torch._foreach_mul_(parameters, masks)
        for module, name, mask in rewritten:
            _hold_parametrized(module, name, mask)

    return after_step


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    owner, _, own = name.rpartition(".")
    return model.get_submodule(owner), own


def _hold_parametrized(module: nn.Module, name: str, mask: Tensor) -> None:
    """Zero a parametrized weight by writing its inverse of zeros into the original parameters."""
    parametrizations = module.get_submodule("parametrizations")
    parts = parametrizations.get_submodule(name)
    assert isinstance(parts, parametrize.ParametrizationList)  # torch makes no other
    with torch.no_grad():
        inverse = cast("Callable[[Tensor], Any]", parts[0].right_inverse)
        zeros = inverse(torch.where(mask, getattr(module, name), 0.0))
        originals = [p for key, p in parts.named_parameters() if key.startswith("original")]
        for original, zero in zip(
            originals, zeros if isinstance(zeros, tuple | list) else [zeros], strict=True
        ):
            original.copy_(torch.where(alive(mask, original), original, zero))


def _format(parameter: Tensor) -> torch.memory_format:
    return torch.channels_last if parameter.dim() == 4 else torch.contiguous_format


def alive(mask: Tensor, units: Tensor) -> Tensor:
    """Return which units of a weight have anything left, in the shape of ``units``.

    Args:
        mask: the weight's keep mask, boolean.
        units: a tensor that broadcasts over the weight: size 1 where a unit spans a dimension.
    """
    dims = tuple(d for d in range(mask.dim()) if units.shape[d] == 1 < mask.shape[d])
    return mask.any(dims, keepdim=True) if dims else mask
