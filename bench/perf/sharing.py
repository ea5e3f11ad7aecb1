"""Compare an experiment's epochs with the naive plan and the minimum, and time parallel stages.

uv run python -m bench.perf.sharing [--experiment quickstart] [--concurrency 2]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.perf.measure import heading, ratio
from ssbench.analysis.facts import sharing
from ssbench.data.download import data_root
from ssbench.data.registry import open_dataset
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import find, load
from ssbench.method.registry import discover
from ssbench.storage.records import read_runs
from ssbench.training.device import resolve

SHORT = ["--set", "train.epochs=2", "--set", "finetune.epochs=1", "--set", "seeds=[0,1]"]


def main() -> None:
    """Print the epochs, and the seconds with one process and with several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--concurrency", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(heading(resolve("auto")))
    experiment = load(find(options.experiment), SHORT[1::2])
    data = open_dataset(experiment.dataset, data_root(None), options.experiment)
    runs = plan(experiment, discover(), data.fingerprint, options.experiment)
    seconds: dict[str, list[float]] = {"1": [], options.concurrency: []}
    for _ in range(options.rounds):
        for concurrency, taken in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                how = [*SHORT, "--concurrency", concurrency]
                taken.append(timed(options.experiment, Path(folder), *how))
                done = sharing(read_runs(Path(folder) / experiment.name))
    least = sum(stage.epochs for stage in stages(runs))
    print(f"epochs: naive {done.naive_epochs}, least {least}, trained {done.epochs}")
    found = ratio(seconds["1"], seconds[options.concurrency])
    print(f"throughput of {options.concurrency} processes over one, one thread each: {found}")


def timed(experiment: str, folder: Path, *how: str) -> float:
    """Run the experiment as a user does, including the start of processes."""
    command = [sys.executable, "-m", "ssbench", "run", experiment, "--quiet", *how]
    command += ["--results", str(folder)]
    began = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True)  # noqa: S603 -- our own command
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
