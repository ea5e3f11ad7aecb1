"""One training in several processes: each answers the training's questions with the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ssbench.data.shard import Shard
from ssbench.errors import RunFailedError
from ssbench.training.distributed.replicas import fingerprints
from ssbench.training.distributed.single import SingleProcess, Sums
from ssbench.training.distributed.step import Step
from ssbench.training.distributed.sync_batch_norm import batch_norm
from ssbench.training.distributed.sync_noise import DROPOUTS, Rows, dropout

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class DataParallel(SingleProcess):
    """This process's part in a joint training, through Lightning Fabric.

    It uses the whole batch's statistics and noise and weights the loss by images. So the summed
    gradients equal those of one process, except for the order of additions.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.share = Shard(fabric.global_rank, fabric.world_size)
        self._fabric = fabric
        self._steps: dict[int, Step] = {}
        self._step = self._of_size(self.share.of)
        self._model: nn.Module | None = None

    def network(self, model: nn.Module) -> nn.Module:
        """Wrap a network, so that its gradients are averaged over the processes."""
        self._model = model
        wrapped = self._fabric.setup_module(model, move_to_device=False)
        return _Network(wrapped, Rows(model), lambda: self._step)

    def begin_step(self, size: int) -> None:
        """Start the step of a batch of ``size`` images over all processes."""
        self._step = self._of_size(size)

    def own(self, size: int) -> int:
        """Number of the batch's images that count here; a filler image does not."""
        return self._of_size(size).own

    def backward(self, loss: Tensor) -> None:
        """Weight the loss so that averaged gradients equal those over all images."""
        self._fabric.backward(loss * (self._step.weight * self.share.of))

    def close(self, sums: Sums) -> None:
        """Sum over the processes, and check that all still have the same network.

        Raises:
            RunFailedError: their networks differ.
        """
        own = [sums.loss, sums.wrong, sums.images]
        device = self._fabric.device
        added = torch.stack([torch.as_tensor(s, dtype=torch.double, device=device) for s in own])
        dist.all_reduce(added)
        loss, wrong, images = added.tolist()
        sums.loss, sums.wrong, sums.images = loss, wrong, int(images)
        if math.isfinite(loss):  # otherwise the training ends here anyway
            self._compare()

    def _compare(self) -> None:
        assert self._model is not None  # an epoch has steps, which have a network
        own = fingerprints(self._model, self._fabric.device)
        first = own.clone()
        dist.broadcast(first, 0)
        differs = (first != own).long()
        dist.all_reduce(differs)
        if differs[0]:
            raise RunFailedError(
                "the processes of this training no longer have the same parameters: what the "
                "method does at a step must not differ from process to process"
            )
        if differs[1]:
            raise RunFailedError(
                "the processes of this training no longer draw the same noise; a layer that draws "
                "for each image, and is no dropout, cannot be trained on several devices"
            )

    def _of_size(self, size: int) -> Step:
        if size not in self._steps:
            self._steps[size] = Step(self.share, size, self._fabric.device)
        return self._steps[size]


class _Network(nn.Module):
    """Calls a network with batch-wide versions of some torch functions."""

    def __init__(self, wrapped: nn.Module, rows: Rows, step: Callable[[], Step]) -> None:
        super().__init__()
        self._wrapped, self._rows, self._now = wrapped, rows, step

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of this process's images."""
        with ExitStack() as stack:
            stack.enter_context(self._rows.watched())
            stack.enter_context(_Replaced(self._now(), self._rows))
            logits: Tensor = self._wrapped(images)
        return logits


class _Replaced(TorchFunctionMode):
    """Replaces torch functions that take the images at hand for the whole batch."""

    def __init__(self, step: Step, rows: Rows) -> None:
        super().__init__()
        self._others: dict[Any, Callable[..., Tensor]] = {
            F.batch_norm: partial(batch_norm, step),
            Tensor.bernoulli_: partial(rows.bernoulli, step),
            **{draw: partial(dropout, draw, step) for draw in DROPOUTS},
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the replacement of a function, or the function itself."""
        del types
        return self._others.get(func, func)(*args, **(kwargs or {}))
