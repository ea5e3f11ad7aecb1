"""Shared by all benchmarks: calls in turns, ratios with their spread, and the hardware."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.training.device import describe


def interleaved(
    subjects: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Call the subjects in turns, so that other load on the machine affects all alike.

    Returns:
        The seconds of every call after the warm-up, by subject.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(warm_up + rounds):
        names = list(subjects)
        turn = number % len(names)  # rotate the order: each subject may affect the next one
        for name in names[turn:] + names[:turn]:
            call = subjects[name]
            wait()
            began = clock()
            call()
            wait()
            if number >= warm_up:
                seconds[name].append(clock() - began)
    return seconds


def steady_clock(device: torch.device) -> Callable[[], float]:
    """Return the clock that other processes disturb least.

    A single thread on a CPU is timed by its processor time, everything else by the wall clock.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def wait() -> None:
    """Wait for the device, because GPU calls return before they are done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(ours: list[float], peer: list[float]) -> str:
    """Write the median over rounds of ``ours / peer``, with the quartiles."""
    found = sorted(first / second for first, second in zip(ours, peer, strict=True))
    low, middle, high = quartiles(found)
    return f"{middle:.3f} [{low:.3f}, {high:.3f}], n = {len(found)}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Return the quartiles; for one value, that value."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def heading(device: torch.device) -> str:
    """Describe hardware and versions."""
    facts = describe(device)
    versions = f"python {platform.python_version()}, torch {version('torch')}"
    return f"{facts['device_name']}, {facts['threads']} threads, {versions}"


def random_images(model: str, count: int) -> DataSet:
    """Make random images, with ten classes: Fashion-MNIST's shape for VGGs, or else CIFAR's."""
    shape = (1, 28, 28) if model.startswith("vgg") else (3, 32, 32)
    generator = torch.Generator().manual_seed(0)

    def split(images: int) -> Split:
        pixels = torch.randint(0, 256, (images, *shape), dtype=torch.uint8, generator=generator)
        return Split(pixels, torch.randint(0, 10, (images,), generator=generator))

    return DataSet("random", 10, split(count), split(64), split(64))
