"""The norms of 2-D kernels; penalties on connections need them in every step.

    norms = kernel_norms(conv.weight)       # [out, in/groups, 1, 1]
    penalty = strength * norms.sum()        # a group lasso over connections

VGG-16 has 1.6 million kernels. The gradient of a norm is the kernel over its norm, one
multiplication; autograd would start from the squares and make four passes and as many copies.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def kernel_norms(weight: Tensor) -> Tensor:
    """Take the Frobenius norm of each kernel, [out, in/groups, 1, 1] of [out, in/groups, h, w].

    For a linear layer's weight [out, in] a kernel is one value, and its norm |w|. The gradient at a
    kernel of zeros is zero, the sub-gradient of least norm.
    """
    if weight.dim() == 2:
        return weight.abs()
    return cast("Tensor", _KernelNorms.apply(weight))


class _KernelNorms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        # In channels-last memory a kernel's values are not adjacent; torch's own norm over the last
        # dimensions takes 30 to 100 times as long.
        norms = weight.square().sum(tuple(range(2, weight.dim())), keepdim=True).sqrt()
        ctx.save_for_backward(weight, norms)
        return norms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        weight, norms = ctx.saved_tensors
        return cast("Tensor", weight * torch.where(norms > 0, gradients[0] / norms, 0.0))
