"""Per-image noise: every process draws it for the whole batch.

All processes draw from generators in the same state, so that gates are the same everywhere. Dropout
would then repeat its draws for different images. So every process draws for all images of the batch
and takes its own rows. On a CPU these equal the draws of one process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssbench.training.distributed.step import Step

DROPOUTS: dict[Callable[..., Tensor], int] = {
    F.dropout: 0,
    F.dropout1d: 1,
    F.dropout2d: 2,
    F.dropout3d: 3,
}
"""By function, the number of last dimensions that share one draw."""
_BY_ROW = ("StochasticDepth", "DropPath")
"""Layers of torchvision and timm that draw once per image, by `Tensor.bernoulli_`."""


def dropout(
    draw: Callable[..., Tensor],
    step: Step,
    x: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """Apply ``draw``, one of `DROPOUTS`, to this process's part of a batch."""
    times = step.per_image(x.shape[0]) if x.dim() else None
    if not training or times is None:
        return draw(x, p, training, inplace)
    shape = list(x.shape)
    shape[0] = times * step.size
    for dim in range(x.dim() - DROPOUTS[draw], x.dim()):
        shape[dim] = 1
    ones = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_format(x)).fill_(1)
    factors = _own(draw(ones, p, True), step, times)
    return x.mul_(factors) if inplace else x * factors


class Rows:
    """Knows whether a layer that draws once per image is running."""

    def __init__(self, model: nn.Module) -> None:
        found = [m for m in model.modules() if type(m).__name__ in _BY_ROW]
        self._layers = [m for m in found if getattr(m, "mode", "row") == "row"]
        self._inside = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside this block `bernoulli` recognises the draws of such layers."""
        with ExitStack() as hooks:
            for layer in self._layers:
                for handle in (
                    layer.register_forward_pre_hook(self._enter),
                    layer.register_forward_hook(self._leave, always_call=True),
                ):
                    hooks.callback(handle.remove)
            yield

    def bernoulli(self, step: Step, where: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Do what ``Tensor.bernoulli_`` does, for such layers over the whole batch."""
        times = step.per_image(where.shape[0]) if where.dim() else None
        if not self._inside or times is None:
            return where.bernoulli_(*args, **kwargs)
        whole = where.new_empty(times * step.size, *where.shape[1:]).bernoulli_(*args, **kwargs)
        return where.copy_(_own(whole, step, times))

    def _enter(self, *_: object) -> None:
        self._inside += 1

    def _leave(self, *_: object) -> None:
        self._inside -= 1


def _own(whole: Tensor, step: Step, times: int) -> Tensor:
    rows = step.share.shown(step.size)
    return whole[times * rows.start : times * rows.stop]


def _format(x: Tensor) -> torch.memory_format:
    """Return the memory format of ``x``: draws come in that order."""
    lies = x.dim() == 4 and not x.is_contiguous()
    if lies and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
