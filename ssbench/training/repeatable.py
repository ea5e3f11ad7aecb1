"""Kernels that give equal bits each time, on a GPU.

cuDNN and torch have faster kernels for some gradients that add in another order each time. On a
CPU, with a fixed number of threads, torch's kernels repeat by themselves.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""What cuBLAS needs to repeat, according to NVIDIA; read when its first handle is made."""
_wanted = [True]
_memory: Any = torch.utils.deterministic  # torch makes this a module with a property
_NO_KERNEL = re.compile(r"^(\S+) does not have a deterministic implementation")


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """On a GPU, choose deterministic kernels inside this block, and warn where there is none."""
    if device.type != "cuda" or not _wanted[-1]:
        yield
        return
    os.environ.setdefault(*WORKSPACE)
    wanted = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = _memory.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        # The fill shows reads of memory that nobody wrote, and takes a kernel for each tensor.
        _memory.fill_uninitialized_memory = False
        yield
    finally:
        torch.use_deterministic_algorithms(wanted, warn_only=warns)
        _memory.fill_uninitialized_memory = fills


@contextmanager
def unrepeatable() -> Iterator[None]:
    """Let `deterministic` do nothing inside this block; for benchmarks of what it costs."""
    _wanted.append(False)
    try:
        yield
    finally:
        _wanted.pop()


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yield a list that gets the names of the operations without a deterministic kernel."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as raised:
        warnings.filterwarnings("always", message=_NO_KERNEL.pattern)
        yield found
    for each in raised:
        named = _NO_KERNEL.match(str(each.message))
        if named:
            found.append(named[1])
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    found[:] = sorted(set(found))
