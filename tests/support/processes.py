"""ssbench in processes of its own: started, watched, ended, and what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.perf.faults import NOT_OF_A_RESULT
from ssbench.storage.jsonl import parse

COUNTED = '''
"""Writes down by which process it is trained and scored."""
import os, sys
from dataclasses import dataclass
from pathlib import Path
from ssbench.method import Method, prunable_weights

def write(log, what):
    """Write a line, but none of the trial before the first training."""
    if "ssbench.executors.processes.trial" in sys.modules:
        return False
    with Path(log).open("a") as file:
        file.write(f"{what} {os.getpid()}\\n")
    return True

@dataclass(frozen=True, kw_only=True)
class Counted(Method):
    """Write a line for every training."""
    grain = "weight"
    deadly: bool = False
    log: str = ""

    def attach(self, model, *, fresh=True):
        pass

    def penalty(self, model):
        return None

    def parameter_groups(self, model):
        write(self.log, f"train {self.deadly}")
        return []

    def scores(self, model):
        if write(self.log, f"scores {self.deadly}") and self.deadly:
            os.kill(os.getpid(), 9)
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''


EXPERIMENT = """
dataset = "digits"
models = ["vgg6"]
seeds = [0, 1]
budget = { kept = [0.5, 0.2], protection = 0.0 }
train = { epochs = 1, lr = 0.05, schedule = "one-cycle", shift = 1 }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle", shift = 1 }
methods = [
    { name = "counted", log = "LOG" },
    { name = "l0", budget = { unit = "params", kept = 0.5 } },
    { name = "magnitude" },
]
"""


def ssbench(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ssbench", "run", "kill.toml", "--quiet"]
    command += ["--method-file", "counted.py", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def prepared(folder: Path, text: str = EXPERIMENT) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "kill.toml").write_text(text.replace("LOG", "trained.txt"))
    (folder / "counted.py").write_text(COUNTED)
    return folder


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=300)
    return process.returncode, err


Content = dict[str, list[dict[str, object]]]


def content(folder: Path) -> Content:
    """The records, but for what no two runs have in common."""
    found = {path.stem: parse(path) for path in sorted(folder.glob("*.jsonl"))}
    return {
        run: [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
        for run, lines in found.items()
    }


TIMES = NOT_OF_A_RESULT - {"commit"}
"""Keys of a record that may differ when it is made again."""


def results(folder: Path) -> dict[str, list[dict[str, object]]]:
    found = {}
    for path in sorted((folder / "results" / "kill").glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.stem] = [{k: v for k, v in r.items() if k not in TIMES} for r in lines]
    return found


def stage_folders(folder: Path) -> set[str]:
    root = folder / "results" / ".cache" / "stages"
    return {p.name for p in root.glob("*") if not p.name.startswith("unfinished")}


def weights(folder: Path) -> dict[str, bytes]:
    root = folder / "results" / ".cache" / "stages"
    return {p.parent.name: p.read_bytes() for p in root.glob("[!u]*/model.safetensors")}


def trained(folder: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in (folder / "trained.txt").read_text().splitlines())
