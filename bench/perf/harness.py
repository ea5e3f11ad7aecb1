"""Time the harness: planning, continuing after an interruption, reports, help and lists.

uv run python -m bench.perf.harness [--runs 10000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.perf.measure import heading
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover
from ssbench.pipeline.record import records
from ssbench.storage.jsonl import dump
from ssbench.storage.results import Results
from ssbench.training.device import resolve

LAUNCHER = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Code of a small process that starts the measured one, because a child inherits its parent's
memory peak."""
KEPT = [0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01]
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "quickstart"


def main() -> None:
    """Print the wall-clock and processor seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="finished ones, and records")
    options = parser.parse_args()
    print(heading(resolve("cpu")))
    for seeds, lambdas in ((500, 17), (3, 3331)):
        planning(seeds, lambdas)
    for command in ("--help", "list methods", "list experiments", "list datasets", "list models"):
        shell(f"ssbench {command}", ["-m", "ssbench", *command.split()])
    with tempfile.TemporaryDirectory() as folder:
        resuming(options.runs, Path(folder))
        reporting(Path(folder))


def planning(seeds: int, lambdas: int) -> None:
    """Plan about 100,000 runs."""
    experiment = _experiment(seeds, [1e-5 * number for number in range(1, lambdas + 1)])
    registry = discover()
    wall, processor = time.perf_counter(), time.process_time()
    runs = plan(experiment, registry, "fingerprint", "bench")
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    name = f"plan {len(runs):,} runs ({seeds} seeds)"
    print(f"{name:44} {wall:6.2f} s, processor {processor:6.2f} s")


def resuming(count: int, folder: Path) -> None:
    """Time an invocation that finds all but one run finished, until all is done."""
    toml = folder / "big.toml"
    seeds = count // 10
    toml.write_text(
        f"name = 'big'\ndataset = 'digits'\nmodels = ['vgg6']\nseeds = {list(range(seeds + 1))}\n"
        f"budget = {{ kept = {KEPT} }}\nmethods = [{{ name = 'random' }}]\n"
        "train = { epochs = 1 }\nfinetune = { epochs = 1 }\n"
    )
    code = (
        "import sys, time; began = time.perf_counter()\n"
        "from pathlib import Path\n"
        "from ssbench.cli.run import run\n"
        "from ssbench.executors.session import Options\n"
        "from ssbench.executors.progress import Quiet\n"
        "def first(*given): print(f'FIRST {time.perf_counter() - began:.2f}'); sys.exit()\n"
        "Quiet.stage_started = first\n"
        "from rich.console import Console\n"
        f"options = Options(results=Path({str(folder)!r}), quiet=True)\n"
        f"run({str(toml)!r}, options, Console(), Console())\n"
    )
    found = commands_runs(toml)
    results = Results(folder, found[0].manifest)
    results.folder.mkdir()
    results.open()
    for run in found[1][:-10]:
        _write(results.folder, run)
    shell(f"first work after {count:,} finished runs", ["-c", code])


def commands_runs(toml: Path) -> tuple[Experiment, list[Run]]:
    """Return the experiment and its runs as the command plans them."""
    from ssbench.data.digits import digits
    from ssbench.experiment.spec import load

    experiment = load(toml)
    return experiment, plan(experiment, discover(), digits().fingerprint, str(toml))


def reporting(folder: Path) -> None:
    """Render a report of this many records."""
    arguments = ["-m", "ssbench", "report", str(folder / "big"), "--out", str(folder / "out")]
    shell("report", arguments)


def shell(name: str, arguments: Sequence[str]) -> None:
    """Time a command in its own process: wall clock, processor time and peak memory."""
    command = [sys.executable, "-c", LAUNCHER, sys.executable, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    *lines, measured = ended.stdout.splitlines()
    wall, processor, memory = map(float, measured.split())
    first = [line for line in lines if line.startswith("FIRST")]
    print(
        f"{name:44} {wall:6.2f} s, processor {processor:6.2f} s, "
        f"memory {memory / 1024:,.0f} MB {' '.join(first)}",
        flush=True,
    )


def _experiment(seeds: int, lambdas: list[float]) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "big",
            "dataset": "digits",
            "models": ["vgg6"],
            "seeds": list(range(seeds)),
            "budget": {"kept": KEPT},
            "methods": [
                {"name": "magnitude", "grain": ["weight", "connection", "filter"]},
                {"name": "synaptic-strength", "lambda": lambdas},
            ],
        }
    )


_lines: list[dict[str, Any]] = []


def _write(folder: Path, run: Run) -> None:
    """Write the measurements of a reference run under another run's name."""
    if not _lines:
        path = next(iter(sorted(REFERENCE.glob("*magnitude*.jsonl"))))
        _lines.extend(json.loads(line) for line in path.read_text().splitlines())
    made = records(run, [{} for _ in run.stages])
    of_run = (
        "format",
        "row_id",
        "run",
        "experiment",
        "method",
        "label",
        "settings",
        "grain",
        "seed",
        "stage_id",
    )
    of_run += ("budget_unit", "budget_asked", "stage", "epochs", "epochs_total")
    lines = [
        measured | {key: mine[key] for key in of_run}
        for measured, mine in zip(_lines, made, strict=True)
    ]
    (folder / f"{run.id}.jsonl").write_text(dump(lines))  # `Results.save` syncs each: minutes


if __name__ == "__main__":
    main()
