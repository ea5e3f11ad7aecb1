"""Number formats of training.

They apply to training only. Evaluation, scores and certificates use float32, and torch may not
round products to TF32 by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.training.recipe import Precision


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Multiply in float32 or TF32 in convolutions and linear layers on CUDA inside this block.

    torch has two sets of switches. It refuses to read the older ones (its compiler and cuDNN's
    context manager do) when the two disagree, so this sets both.
    """
    switches = _switches()
    before = [getattr(*switch) for switch in switches]
    rounds = precision == "tf32"
    wanted = [
        rounds if name == "allow_tf32" else "tf32" if rounds else "ieee" for _, name in switches
    ]
    try:
        _set(switches, wanted)
        yield
    finally:
        _set(switches, before)


def _switches() -> list[tuple[Any, str]]:
    """All switches of TF32, the older ones first: setting them changes the newer ones too."""
    cudnn, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    older = [(cudnn, "allow_tf32"), (matrices, "allow_tf32")]
    newer = [cudnn.conv, cudnn.rnn, matrices]  # type: ignore[attr-defined]
    return [*older, *((one, "fp32_precision") for one in newer)]


def _set(switches: Sequence[tuple[Any, str]], values: Sequence[object]) -> None:
    with warnings.catch_warnings():
        # Until torch 2.10 the older ones warn about the newer ones, but are still needed.
        warnings.filterwarnings("ignore", message="Please use the new API settings")
        for (place, name), value in zip(switches, values, strict=True):
            setattr(place, name, value)


def forward(
    model: nn.Module, device: torch.device, precision: Precision
) -> Callable[[Tensor], Tensor]:
    """Make the function from images [N, C, H, W] to float32 logits [N, classes] of a training.

    Args:
        model: the network; its parameters are read at every call.
        device: of the network.
        precision: see `ssbench.training.recipe.Precision`.
    """
    if precision != "bf16":
        return model

    def lower(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits: Tensor = model(images)
        return logits.float()

    return lower
