"""Batch norm with the mean and variance of the whole batch, spread over processes.

torch's SyncBatchNorm runs on GPUs only and replaces modules, which would drop gates attached to a
batch norm. This replaces the function that all batch norms call.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ssbench.training.distributed.step import Step


def batch_norm(
    step: Step,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what ``torch.nn.functional.batch_norm`` does in one process with the whole batch.

    ``x`` [n, C, ...] is this process's part of the maps; the other arguments are the same.

    Raises:
        ValueError: the whole batch has one value per channel, which has no variance.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    count = _count(x, step)
    if count == 1:
        raise ValueError(f"one value per channel cannot be normalised, got {list(x.shape)}")
    found: tuple[Tensor, Tensor, Tensor] = _Normalise.apply(x, weight, bias, eps, step)
    y, mean, variance = found
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
        if running_var is not None:  # an estimate for all images, not for the batch
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
    return y


class _Normalise(torch.autograd.Function):
    """y = weight (x - mean) / sqrt(variance + eps) + bias, mean and variance over all parts."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, step: Step
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _moments(x, step)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.step = step
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        """Sum the gradients through mean and variance over the whole batch; Ioffe, Szegedy 2015."""
        x, weight, mean, scale = ctx.saved_tensors
        dims, shape = _others(x), _along(x)
        normal = (x.to(mean) - mean.reshape(shape)) * scale.reshape(shape)
        sums = torch.stack([dy.sum(dims, dtype=mean.dtype), (dy * normal).sum(dims)])
        own = sums.clone()
        dist.all_reduce(sums)
        if not ctx.step.own:  # images that do not count are not in mean and variance
            sums.zero_()
        by_mean, by_variance = sums / _count(x, ctx.step)
        factor = scale if weight is None else scale * weight
        back = dy - by_mean.reshape(shape) - normal * by_variance.reshape(shape)
        dx = (back * factor.reshape(shape)).to(x)
        if weight is None:
            return dx, None, None, None, None
        return dx, own[1].to(weight), own[0].to(weight), None, None


def _moments(x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """Return mean and (biased) variance by channel over all parts, at least in float32.

    Combines the parts as Chan, Golub and LeVeque (1979): no difference of large sums.
    """
    kind = torch.promote_types(x.dtype, torch.float32)
    variance, mean = torch.var_mean(x.to(kind), _others(x), correction=0)
    own = torch.cat([mean, variance])
    parts = [torch.empty_like(own) for _ in range(step.share.of)]
    dist.all_gather(parts, own)
    means, variances = torch.stack(parts).double().chunk(2, dim=1)
    whole = (step.weights * means).sum(0)
    spread = (step.weights * (variances + (means - whole).square())).sum(0)
    return whole.to(kind), spread.to(kind)


def _count(x: Tensor, step: Step) -> int:
    """Return the number of values per channel in the whole batch."""
    return step.size * (x.numel() // x.shape[1] // max(step.own, 1))


def _others(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _along(x: Tensor) -> list[int]:
    return [-1 if dim == 1 else 1 for dim in range(x.dim())]
