"""Count the multiply-adds of linear layers that are used inside other operations.

fvcore counts by module, and such a layer's own module is never called: watch ``F.linear`` instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.structure import Structure

_APART = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""Parameters of torch's attention that are no layer."""


def inner_macs(model: nn.Module, structure: Structure, example: Tensor) -> dict[str, int]:
    """Return the multiply-adds of the layers ``structure.inner``, for one image.

    And, by parameter name, those of the weights of torch's attention that are no layer.

    Args:
        model: the network; not changed.
        structure: of ``model``.
        example: one image [1, C, H, W].

    Raises:
        RunFailedError: an operation does not simply multiply with a weight; names the layer.
    """
    if not structure.inner:
        return {}
    network = copy.deepcopy(model).cpu().eval()
    owners = {id(network.get_parameter(layer.weight)): layer.name for layer in structure.inner}
    for name, parameter in network.named_parameters():
        if name.endswith(_APART):
            owners[id(parameter)] = name
    watch = _Linears(owners)
    handles = [
        module.register_forward_hook(watch.attended, with_kwargs=True)
        for module in network.modules()
        if isinstance(module, nn.MultiheadAttention)
    ]
    with torch.no_grad(), watch:
        network(example.cpu())
    for handle in handles:
        handle.remove()
    lacking = [layer for layer in structure.inner if layer.name not in watch.macs]
    if lacking:
        raise RunFailedError(
            f"{type(model).__name__}: the multiply-adds of {lacking[0].name} cannot be counted: "
            f"{lacking[0].inside} does not simply multiply with its weight"
        )
    return watch.macs


class _Linears(TorchFunctionMode):
    """Notes the multiply-adds of every ``F.linear`` with a known weight."""

    def __init__(self, owners: dict[int, str]) -> None:
        super().__init__()
        self.owners, self.macs = owners, dict[str, int]()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, and note what it multiplies."""
        given = kwargs or {}
        if func is F.linear:
            weight = given.get("weight", args[1] if len(args) > 1 else None)
            self._note(weight, given.get("input", args[0] if args else None))
        return func(*args, **given)

    def attended(self, module: nn.Module, args: Any, kwargs: Any, _: object) -> None:
        """Note the products of torch's attention with its weights."""
        assert isinstance(module, nn.MultiheadAttention)
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        self._note(module.out_proj.weight, given["query"])
        for part in ("query", "key", "value"):
            self._note(module.in_proj_weight, given[part], share=3)
            self._note(getattr(module, f"{part[0]}_proj_weight"), given[part])

    def _note(self, weight: object, maps: object, share: int = 1) -> None:
        """Add the product of maps with a weight, of which they meet one part of ``share``."""
        name = self.owners.get(id(weight))
        if name is not None and isinstance(weight, Tensor) and isinstance(maps, Tensor):
            places = maps.numel() // maps.shape[-1]
            self.macs[name] = self.macs.get(name, 0) + places * weight.numel() // share
