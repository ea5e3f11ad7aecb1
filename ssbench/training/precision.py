"""Number formats of training, and how the network's forward pass is compiled.

They apply to training alone. Networks are evaluated, scored and certified in float32, and torch is
kept from rounding products to TF32 of its own accord.
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
    """Within it, convolutions and linear layers on CUDA multiply in float32 or in TF32.

    torch has two sets of switches for that, and refuses to read the older ones, as its compiler
    and cuDNN's own context manager do, where the two disagree: so both are set.
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
    """All switches of TF32, the older ones first: they change the newer ones with them."""
    cudnn, matrices = torch.backends.cudnn, torch.backends.cuda.matmul
    older = [(cudnn, "allow_tf32"), (matrices, "allow_tf32")]
    newer = [cudnn.conv, cudnn.rnn, matrices]  # type: ignore[attr-defined]
    return [*older, *((one, "fp32_precision") for one in newer)]


def _set(switches: Sequence[tuple[Any, str]], values: Sequence[object]) -> None:
    with warnings.catch_warnings():
        # Until torch 2.10 the older ones advise the newer ones, and cannot be left out.
        warnings.filterwarnings("ignore", message="Please use the new API settings")
        for (place, name), value in zip(switches, values, strict=True):
            setattr(place, name, value)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Within it, a network may be compiled; in the end all that was compiled is given up.

    It would be of no use to another network, but would hold the memory of its CUDA graphs, and
    count among the few variants of a network's code that torch compiles before it stops to.
    """
    try:
        yield
    finally:
        if wanted:
            torch.compiler.reset()


def forward(
    model: nn.Module, device: torch.device, precision: Precision, *, compiled: bool
) -> Callable[[Tensor], Tensor]:
    """Make the function from images [N, C, H, W] to float32 logits [N, classes] of a training.

    Args:
        model: the network; its parameters are read at every call.
        device: where it lies.
        precision: see `ssbench.training.recipe.Precision`.
        compiled: by torch.compile, within `compiling`; on CUDA with CUDA graphs, so that logits
            and gradients are overwritten by the next call. The first step takes long.
    """
    call = _compiled(model, device) if compiled else model
    if precision != "bf16":
        return call

    def lower(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return call(images).float()

    return lower


def _compiled(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    if device.type != "cuda":
        return torch.compile(model, dynamic=False)
    graphs = torch.compile(model, mode="reduce-overhead", dynamic=False)

    def step(images: Tensor) -> Tensor:
        # What the graphs left of the step before may be overwritten, also where it failed half way.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Tensor = graphs(images)
        return logits

    return step
