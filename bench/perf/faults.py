"""Kill an experiment repeatedly at random moments, and report what was lost.

OMP_NUM_THREADS=1 uv run python -m bench.perf.faults [--kills 20] [--concurrency 1 2] [--seed 0]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SHORT = ["--set", "train.epochs=10", "--set", "finetune.epochs=5", "--set", "seeds=[0]"]
SHORT += ["--set", "budget.kept=[0.2,0.05]"]
EARLY = 0.2
"""The share of kills before the first write: during imports and reading of data."""
WINDOW = 2.0
"""Maximum seconds of work before a process is killed."""
NOT_OF_A_RESULT = {
    "seconds_train", "seconds_penalty", "seconds_prune", "images_per_second", "time",
    "peak_memory_bytes", "energy_joules", "resumed", "commit", "command", "sha256",
}  # fmt: skip


@dataclass
class Found:
    """The losses of a killed experiment.

    Attributes:
        states: when the kills happened, by what was on the disk afterwards.
        lost_runs: finished runs that disappeared with a kill; the same for the stages, and for
            ``lost_epochs``, the saved epochs of an unfinished stage.
        torn: unreadable files of records.
        differing: files of the final result that differ from those of an undisturbed run.
    """

    states: Counter[str] = field(default_factory=Counter)
    lost_runs: int = 0
    lost_stages: int = 0
    lost_epochs: int = 0
    torn: int = 0
    differing: int = 0
    files: int = 0

    @property
    def kills(self) -> int:
        """How many times a living process was killed."""
        return sum(self.states.values())


@dataclass(frozen=True)
class Disk:
    """What an experiment has written until now."""

    runs: frozenset[str]
    stages: frozenset[str]
    epochs: dict[str, int]
    unfinished: frozenset[str]
    torn: int


class Victim:
    """An experiment in its own folder."""

    def __init__(self, folder: Path, experiment: str, extra: Sequence[str]) -> None:
        self.folder, self.cache = folder, folder / ".cache"
        command = [sys.executable, "-m", "ssbench", "run", experiment, "--quiet", *SHORT]
        self.command = [*command, "--results", str(folder), *extra]

    def start(self) -> subprocess.Popen[bytes]:
        """Start or continue."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(self.command, env=environment)  # noqa: S603 -- our own command

    def finish(self) -> None:
        """Continue to the end."""
        if self.start().wait():
            raise SystemExit(f"{' '.join(self.command)}: failed")

    def disk(self) -> Disk:
        """Inspect the folder."""
        epochs: dict[str, int] = {}
        entries = list(self.cache.glob("*/*"))
        torn = 0
        for path in self.cache.glob("partial/[!u]*/record.json"):
            stage = path.parent.name.rpartition("-")[0]
            with suppress(FileNotFoundError):  # it is being replaced by a newer one
                epoch = json.loads(path.read_text())["epoch"]
                epochs[stage] = max(epochs.get(stage, 0), epoch)
        runs = list(self.folder.glob("*/*.jsonl"))
        for path in runs:
            try:
                records = [json.loads(line) for line in path.read_text().splitlines()]
                torn += not records
            except ValueError:
                torn += 1
        return Disk(
            frozenset(path.name for path in runs),
            frozenset(p.name for p in entries if p.parent.name == "stages" and p.name[0] != "u"),
            epochs,
            frozenset(p.parent.name for p in entries if p.name.startswith("unfinished-")),
            torn,
        )

    def results(self) -> dict[str, object]:
        """Return records without times, and weights, by file."""
        found: dict[str, object] = {}
        for path in self.folder.glob("*/*.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [
                {key: value for key, value in line.items() if key not in NOT_OF_A_RESULT}
                for line in lines
            ]
        for path in self.cache.glob("stages/[!u]*/model.safetensors"):
            found[path.parent.name] = path.read_bytes()
        return found


def faults(
    folder: Path,
    whole: dict[str, object],
    kills: int,
    concurrency: int,
    *,
    experiment: str = "quickstart",
    seed: int = 0,
) -> Found:
    """Kill an experiment ``kills`` times, let it end, and compare it with ``whole``.

    If it ends before that, it starts again in another folder.

    Args:
        folder: an empty folder for the experiment.
        whole: `Victim.results` of the same experiment, undisturbed.
        kills: the number of kills.
        concurrency: the number of parallel processes; the one that started them is killed.
        experiment: a file, or the name of one that ships.
        seed: for the moments.
    """
    extra = ["--concurrency", str(concurrency), "--save-every", "0"]
    chance = random.Random(f"{seed}, {concurrency}")  # noqa: S311 -- no secret
    found = Found()
    for number in itertools.count():
        victim = Victim(folder / str(number), experiment, extra)
        _strike(victim, kills, chance, found)
        victim.finish()
        end = victim.results()
        found.files += len(whole)
        found.differing += sum(
            end.get(name) != whole.get(name) for name in end.keys() | whole.keys()
        )
        if found.kills == kills:
            return found
    raise AssertionError


def _strike(victim: Victim, kills: int, chance: random.Random, found: Found) -> None:
    """Kill an experiment up to a number of times or until it ends, and inspect it each time."""
    before = victim.disk()
    while found.kills < kills:
        early = chance.random() < EARLY
        if not _kill(victim, before, chance.uniform(0, 5 if early else WINDOW), early=early):
            return
        after = victim.disk()
        found.states[_state(before, after, early=early)] += 1
        found.lost_runs += len(before.runs - after.runs)
        found.lost_stages += len(before.stages - after.stages)
        found.lost_epochs += sum(
            after.epochs.get(stage, 0) < epoch
            for stage, epoch in before.epochs.items()
            if stage not in after.stages
        )
        found.torn += after.torn
        before = after


def _kill(victim: Victim, before: Disk, after: float, *, early: bool) -> bool:
    """Kill some seconds after the start or the first write; return False if it had ended."""
    process = victim.start()
    while not early and process.poll() is None:
        now = victim.disk()
        if now.stages != before.stages or now.epochs != before.epochs:
            break
        time.sleep(0.02)
    time.sleep(after)
    alive = process.poll() is None
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def _state(before: Disk, after: Disk, *, early: bool) -> str:
    if "partial" in after.unfinished - before.unfinished:
        return "writing an epoch"
    if "stages" in after.unfinished - before.unfinished:
        return "writing a stage"
    if early and (after.stages, after.epochs) == (before.stages, before.epochs):
        return "starting"
    return "training, an epoch saved" if after.epochs else "first epoch, pruning or evaluating"


def main() -> None:
    """Print when the kills happened and what was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        alone = Victim(Path(root) / "whole", options.experiment, [])
        alone.finish()
        whole = alone.results()
        for concurrency in options.concurrency:
            found = faults(
                Path(root) / str(concurrency),
                whole,
                options.kills,
                concurrency,
                experiment=options.experiment,
                seed=options.seed,
            )
            where = ", ".join(f"{state} {count}" for state, count in found.states.most_common())
            print(
                f"concurrency {concurrency}: {found.kills} kills ({where}); lost: "
                f"{found.lost_runs} runs, {found.lost_stages} stages, {found.lost_epochs} saved "
                f"epochs; torn records: {found.torn}; files that differ at the end: "
                f"{found.differing} of {found.files}",
                flush=True,
            )


if __name__ == "__main__":
    main()
