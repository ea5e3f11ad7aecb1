"""Compare the Ray executor with processes, and measure its overhead per stage.

    uv run --extra ray python -m bench.perf.on_ray [--rounds 5]

The first number is from whole commands, including the start of cluster and processes. The second
is from a running cluster: the same short stages one after the other, here and as tasks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from bench.perf.measure import heading, ratio
from bench.perf.sharing import SHORT, timed
from ssbench.data.digits import digits
from ssbench.executors.coordinator import execute
from ssbench.executors.progress import Quiet
from ssbench.executors.protocol import Job, Where
from ssbench.executors.ray.cluster import joined
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training.device import resolve

KEPT = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]


def main() -> None:
    """Print both numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["whole", "stage"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(heading(resolve("cpu")))
    if options.only != "stage":
        whole(options.experiment, options.rounds)
    if options.only != "whole":
        each_stage(options.rounds)


def whole(experiment: str, rounds: int) -> None:
    """Time whole commands, in turns."""
    ways = {"processes": ["--concurrency", "2"]}
    ways["ray"] = [*ways["processes"], "--executor", "ray"]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 else reversed(ways):
            with tempfile.TemporaryDirectory() as folder:
                taken = timed(experiment, Path(folder), *SHORT, *ways[name])
            seconds[name].append(taken)
            print(f"{name:10} {taken:7.1f} s")
    print(f"throughput of ray over processes: {ratio(seconds['processes'], seconds['ray'])}")


def each_stage(rounds: int) -> None:
    """Time short stages one after the other, in this process and on a warm cluster."""
    workbench = Workbench(digits(), resolve("cpu"))
    more: list[float] = []
    with joined("local", 1):
        on_ray = Where(executor="ray", device="cpu", concurrency=1)
        for number in range(rounds + 1):
            runs = _runs(number)
            here = _timed(runs, workbench, Where())
            there = _timed(runs, workbench, on_ray)
            if number:  # the first warms up
                more.append((there - here) / len(stages(runs)))
                print(f"{len(stages(runs))} stages: {here:.2f} s here, {there:.2f} s on Ray")
    print(f"more for each stage: {1000 * statistics.median(more):.0f} ms, n = {len(more)} "
          f"(from {1000 * min(more):.0f} to {1000 * max(more):.0f})")  # fmt: skip


def _runs(seed: int) -> list[Run]:
    experiment = Experiment.model_validate(
        {
            "name": "x",
            "dataset": "digits",
            "models": ["vgg6"],
            "seeds": [seed],
            "budget": {"kept": KEPT},
            "train": {"epochs": 1},
            "finetune": {"epochs": 1},
            "methods": [{"name": "magnitude"}],
        }
    )
    return plan(experiment, discover(), digits().fingerprint, "bench")


def _timed(runs: list[Run], workbench: Workbench, where: Where) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store, results = CheckpointStore(Path(folder)), Results(Path(folder), {"name": "x"})
        store.prepare()
        results.folder.mkdir()
        observer = Quiet([], Console(quiet=True))
        began = time.perf_counter()
        execute(runs, Job(workbench, store, where), results, observer)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
