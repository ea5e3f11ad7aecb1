"""Number formats of training, and how the network's forward pass is compiled.

They apply to training alone. Networks are evaluated, scored and certified in float32, and torch is
kept from rounding products to TF32 of its own accord.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssbench.recipe import Precision


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Within it, convolutions and linear layers on CUDA multiply in float32 or in TF32."""
    convolutions, matrices = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    before = convolutions.fp32_precision, matrices.fp32_precision
    wanted = "tf32" if precision == "tf32" else "ieee"
    try:
        convolutions.fp32_precision = matrices.fp32_precision = wanted
        yield
    finally:
        convolutions.fp32_precision, matrices.fp32_precision = before


def forward(
    model: nn.Module, device: torch.device, precision: Precision, *, compiled: bool
) -> Callable[[Tensor], Tensor]:
    """Make the function from images [N, C, H, W] to float32 logits [N, classes] of a training.

    Args:
        model: the network; its parameters are read at every call.
        device: where it lies.
        precision: see `ssbench.recipe.Precision`.
        compiled: by torch.compile, on CUDA with CUDA graphs; the first step takes long.
    """
    call: Callable[[Tensor], Tensor] = model
    if compiled:
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        call = torch.compile(model, mode=mode, dynamic=False)
    if precision != "bf16":
        return call

    def lower(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return call(images).float()

    return lower
