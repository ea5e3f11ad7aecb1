"""Count the small trainings that a device finishes in an hour, by the number of processes.

uv run python -m bench.perf.trainings [--processes 1 2 4]
"""

from __future__ import annotations

import argparse
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any

import torch

from bench.perf.measure import heading, random_images
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.loop import Hooks, train
from ssbench.training.recipe import Recipe

WHAT = "vgg-small, 28 pixels, 5 epochs of 10,240 images, batch 128, bf16"
SECONDS = 5.0
"""How long each process starts new trainings."""


def main() -> None:
    """Print the trainings per hour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--tiny", action="store_true", help="sizes that a CPU can do")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve(options.device)
    print(f"{heading(device)}; {WHAT}")
    for processes in options.processes:
        count, seconds = finished(processes, str(device), tiny=options.tiny)
        print(f"{processes} processes: {3600 * count / seconds:,.0f} trainings per hour")


def finished(processes: int, device: str, *, tiny: bool) -> tuple[int, float]:
    """Return the number of trainings that processes finish side by side, and the seconds."""
    context = get_context("spawn")
    ready, done = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_work, args=(ready, done, device, tiny), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        found = [done.get(timeout=120) for _ in workers]
    except Empty:
        raise RuntimeError("a process ended without a result") from None
    finally:
        for worker in workers:
            worker.join(0.1) if worker.exitcode is not None else worker.terminate()
    begun, ended = min(begin for begin, _, _ in found), max(end for _, end, _ in found)
    return sum(count for _, _, count in found), ended - begun


def _work(ready: Barrier, done: Any, device: str, tiny: bool) -> None:
    torch.set_num_threads(1)
    images, epochs = (128, 1) if tiny else (10_240, 5)
    workbench = Workbench(random_images("vgg-small", images), resolve(device))
    recipe = Recipe(epochs=epochs, batch_size=128, lr=0.01, precision="bf16")

    def training(seed: int) -> None:
        model = workbench.place(workbench.model("vgg-small", seed))
        train(model, recipe, workbench.augmented(recipe), seed, Hooks(), lambda _: None)

    training(0)
    ready.wait(120)
    begun, count = time.monotonic(), 0
    while time.monotonic() - begun < (0.5 if tiny else SECONDS):
        training(count)
        count += 1
    done.put((begun, time.monotonic(), count))


if __name__ == "__main__":
    main()
