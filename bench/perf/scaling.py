"""Compute an experiment's time on many GPUs from a given rate of images per second.

    uv run python -m bench.perf.scaling table2_imagenet --rate 938 --images 1271167
    uv run python -m bench.perf.scaling table3_compact --rate 938 --images 1271167 \
        --relative resnet18-imagenet=2.86

A training of e epochs takes e * images / rate; pruning and evaluation are left out. Stages run in
the order of the executors, each on the first free GPU.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ssbench.data.registry import DATASETS
from ssbench.executors.schedule import Schedule
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import find, load
from ssbench.experiment.stage import Run, Stage
from ssbench.method.contract import prunable_weights
from ssbench.method.registry import discover
from ssbench.storage.checkpoints import CheckpointStore


def main() -> None:
    """Print GPU hours by row, the hours on 1 to many GPUs, and the bytes of the checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment")
    parser.add_argument("--rate", type=float, required=True, help="images/s of one GPU")
    parser.add_argument("--images", type=int, required=True, help="for training")
    parser.add_argument("--gpus", type=int, nargs="*", default=[1, 8, 64, 128])
    parser.add_argument("--relative", nargs="*", default=[], help="MODEL=ITS RATE OVER --rate")
    options = parser.parse_args()
    experiment = load(find(options.experiment), ())
    runs = plan(experiment, discover(), "unknown", options.experiment)
    relative = {name: float(rate) for name, rate in (r.split("=") for r in options.relative)}

    def hours(stage: Stage) -> float:
        rate = options.rate * relative.get(stage.model, 1.0)
        return stage.epochs * options.images / rate / 3600

    every = stages(runs)
    kinds = Counter(stage.kind for stage in every)
    print(f"{len(runs)} runs, {len(every)} stages ({dict(kinds)})")
    print(f"{sum(stage.epochs for stage in every):,} epochs; without sharing "
          f"{sum(run.stage.epochs_total for run in runs):,}")  # fmt: skip
    for (model, label), taken in by_row(runs, hours).items():
        print(f"  {model:18} {label:28} {taken:8.1f} GPU hours")
    total = sum(hours(stage) for stage in every)
    longest = max(sum(hours(stage) for stage in run.stages) for run in runs)
    print(f"total {total:,.1f} GPU hours; longest chain {longest:.1f} h")
    for gpus in options.gpus:
        taken = makespan(runs, gpus, hours)
        print(f"{gpus:5} GPUs: {taken:8.1f} h, busy {total / gpus / taken:.0%}")
    print(f"checkpoints: {checkpoint_bytes(every) / 1e9:.1f} GB")


def by_row(runs: Sequence[Run], hours: Callable[[Stage], float]) -> Mapping[tuple[str, str], float]:
    """Return hours by model and method over all budgets and seeds; shared stages are divided."""
    shared = Counter(stage.id for run in runs for stage in run.stages)
    found: dict[tuple[str, str], float] = defaultdict(float)
    for run in runs:
        for stage in run.stages:
            found[run.stage.model, run.label] += hours(stage) / shared[stage.id]
    return found


def makespan(runs: Sequence[Run], gpus: int, hours: Callable[[Stage], float]) -> float:
    """Return the hours until the last stage is finished."""
    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(runs, CheckpointStore(Path(folder)))
    under_way: list[tuple[float, str, Stage]] = []
    now = 0.0
    while schedule.ready or under_way:
        while schedule.ready and len(under_way) < gpus:
            stage = schedule.ready.popleft()
            heapq.heappush(under_way, (now + hours(stage), stage.id, stage))
        now, _, stage = heapq.heappop(under_way)
        list(schedule.done(stage))
    return now


def checkpoint_bytes(every: Sequence[Stage]) -> int:
    """Return the bytes of all checkpoints: weights, and after pruning one byte of mask per weight.

    Leaves out what methods attach in training, a few per cent.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for stage in every:
        if stage.model not in sizes:
            source = DATASETS[stage.dataset]
            network = stage.architecture.build(source.shape[0], source.classes)
            masked = sum(weight.numel() for weight in prunable_weights(network).values())
            weights = sum(t.numel() * t.element_size() for t in network.state_dict().values())
            sizes[stage.model] = weights, masked
    plain, pruned = 0, 0
    for stage in every:
        weights, masked = sizes[stage.model]
        plain += weights
        pruned += masked if any(s.kind == "prune" for s in stage.chain()) else 0
    return plain + pruned


if __name__ == "__main__":
    main()
