"""Measure how many stages fit on a device in parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ssbench.executors.estimate import kinds, train_briefly
from ssbench.experiment.stage import Run
from ssbench.pipeline.workbench import Network, Workbench, evaluation_batch
from ssbench.training.device import clear, peak_memory

SPARE = 0.8
"""The share of the free memory to use."""
ON_GPU = 4
"""Number of processes on one GPU at most. Captured steps keep it busy: four processes finish 5 %
more small trainings than one on an H200, and eight no more than four (bench/perf/RESULTS.md)."""
CUDA_CONTEXT = 600 * 2**20
"""Bytes that CUDA's context and libraries take per process, which torch does not count."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fitting(runs: Sequence[Run], workbench: Workbench) -> int:
    """Return how many processes the cores and the free memory allow, at least one."""
    need = needed(runs, workbench)
    if workbench.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(workbench.device)
    else:
        free = _free_memory()
    most = min(cores(), ON_GPU) if workbench.device.type == "cuda" else cores()
    return max(min(most, int(SPARE * free / max(need, 1))), 1)


def needed(runs: Sequence[Run], workbench: Workbench) -> int:
    """Return the bytes of the device's memory that a process needs.

    Measures one training step of each network at its batch size; on a GPU also an evaluation
    batch, which may need more.
    """
    clear(workbench.device)
    trainings = kinds(runs)
    for kind in sorted(trainings):
        recipe, stage = trainings[kind]
        fitted = workbench.fitted(stage.preprocessing)
        train_briefly(fitted, stage.architecture, recipe, seconds=0.0)
        if workbench.device.type == "cuda":
            _evaluate_briefly(fitted, stage.architecture)
    if workbench.device.type != "cuda":
        return peak_memory(workbench.device)
    need = torch.cuda.max_memory_reserved(workbench.device) + CUDA_CONTEXT
    clear(workbench.device)  # for the processes that will share the device
    return need


@torch.no_grad()
def _evaluate_briefly(workbench: Workbench, network: Network) -> None:
    model = workbench.place(workbench.model(network, 0)).eval()
    size = evaluation_batch(workbench.validation)
    model(torch.zeros(size, *workbench.example.shape[1:], device=workbench.device))


def _free_memory() -> int:
    """Return the available memory in bytes; without /proc, half of the total."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
