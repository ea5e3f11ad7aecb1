"""How many stages fit on a device side by side: measured, not guessed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ssbench.device import peak_memory
from ssbench.dryrun import train_briefly
from ssbench.stage import Run
from ssbench.workbench import Bench

SPARE = 0.8
"""The share of the free memory that is used."""
CUDA_CONTEXT = 600 * 2**20
"""Bytes that CUDA's context and libraries take per process, which torch does not count."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fitting(runs: Sequence[Run], bench: Bench) -> int:
    """How many processes the cores and the free memory carry, at least one."""
    need = needed(runs, bench)
    if bench.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(bench.device)
    else:
        free = _free_memory()
    return max(min(cores(), int(SPARE * free / max(need, 1))), 1)


def needed(runs: Sequence[Run], bench: Bench) -> int:
    """Bytes of the device's memory that a process needs.

    One training step of each network at its batch size says so.
    """
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    kinds = {
        (stage.model, stage.recipe.batch_size)
        for run in runs
        for stage in run.stages
        if stage.recipe
    }
    for model, batch_size in sorted(kinds):
        train_briefly(bench, model, batch_size, seconds=0.0)
    need = peak_memory(bench.device)
    return need + CUDA_CONTEXT if bench.device.type == "cuda" else need


def _free_memory() -> int:
    """Bytes that processes can still get; on a system without /proc, half of all."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
