"""``ssbench run --devices``: whole runs by several processes, and how they end when one fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.perf.faults import NOT_OF_A_RESULT
from ssbench.errors import BadInputError
from ssbench.executors.capacity import cores
from ssbench.executors.processes import ddp_group
from tests.support.command_line import Invoke
from tests.support.processes import alive, ended

FAULTY = '''
"""Fails in one of the processes that train jointly."""
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Faulty(Method):
    """Fail in a penalty."""
    grain = "weight"
    how: str = "dies"

    def penalty(self, model):
        if self.how == "nothing" or "ssbench.executors.processes.trial" in sys.modules:
            return None
        if os.environ.get("LOCAL_RANK") == "1" or self.how == "all":
            if self.how == "dies":
                os.kill(os.getpid(), 9)
            if self.how == "hangs":
                time.sleep(10_000)
            if self.how == "lasts":
                Path("begun").touch()
                return None
            raise ValueError("broken here")
        return None

    def scores(self, model):
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''
EXPERIMENT = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = 0.5 }
train = { epochs = EPOCHS, lr = 0.05, schedule = "one-cycle", batch_size = 63 }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle", batch_size = 63 }
methods = [METHODS]
"""


def written(folder: Path, methods: str, epochs: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "faulty.py").write_text(FAULTY)
    text = EXPERIMENT.replace("METHODS", methods).replace("EPOCHS", str(epochs))
    (folder / "joint.toml").write_text(text)
    return folder


def last_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The last record of each run, by label."""
    found = [
        json.loads(p.read_text().splitlines()[-1]) for p in folder.glob("results/joint/*.jsonl")
    ]
    return {record["label"]: record for record in found}


def all_records(folder: Path) -> list[dict[str, Any]]:
    """The records of all runs, stage by stage."""
    paths = sorted(folder.glob("results/joint/*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ssbench", "run", "joint.toml", "--quiet", "--devices", "2"]
    command += ["--method-file", "faulty.py", *more]
    return subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--devices", cores() + 1], f"this machine has {cores()} usable cores"),
        (["--devices", "2", "--concurrency", "2"], "leave out --concurrency"),
        (["--devices", "2", "--set", "train.compile=true"], "set compile = false"),
        (["--devices", "0"], "--devices"),
    ],
)
def test_what_cannot_be_done_is_refused(
    arguments: list[Any], said: str, tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ddp_group, "cores", lambda: max(cores(), 2) if arguments[1] == "2" else cores()
    )
    ended_ = invoke("run", tiny, *arguments)
    assert ended_.code == 2
    assert said in ended_.err


def test_gpus_that_are_not_there_and_fabric_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    ddp_group.check(4, torch.device("cuda"), [])
    with pytest.raises(BadInputError, match="has 4 usable CUDA devices"):
        ddp_group.check(5, torch.device("cuda"), [])
    with pytest.raises(BadInputError, match="choose --device cuda"):
        ddp_group.check(2, torch.device("cuda:1"), [])
    monkeypatch.setattr(ddp_group, "find_spec", lambda _: None)
    with pytest.raises(BadInputError, match=r"ssbench\[distributed\]"):
        ddp_group.check(2, torch.device("cuda"), [])


@pytest.mark.exhaustive
def test_every_kind_of_stage_is_carried_out_and_says_by_how_many(
    tmp_path: Path, invoke: Invoke
) -> None:
    methods = """
        { name = "dense" }, { name = "magnitude", retrain = "weight-rewind" }, { name = "snip" },
        { name = "l0" }, { name = "synaptic-strength" }, { name = "gradual-magnitude" },
        { name = "magnitude", grain = "filter", retrain = "scratch-b" }
    """
    folder = written(tmp_path / "all", methods, epochs=2)
    where = ["--results", folder / "results"]
    precise = ["--set", 'finetune.precision="bf16"']
    code = invoke("run", folder / "joint.toml", "--devices", "2", *precise, *where).code
    assert code == 0
    for path in (folder / "results" / "joint").glob("*.jsonl"):
        for stage in map(json.loads, path.read_text().splitlines()):
            assert stage["devices"] == (1 if stage["stage"] == "prune" else 2)
            assert stage["status"] == "done"
    again = invoke("run", folder / "joint.toml", *precise, *where)
    assert again.code == 0  # what several have done is done for one
    assert "2 processes jointly" in (folder / "results" / "joint" / "report.md").read_text()


@pytest.mark.slow
def test_a_method_of_ones_own_trains_jointly_like_one_of_ssbench(
    tmp_path: Path, invoke: Invoke
) -> None:
    methods = '{ name = "faulty", how = "nothing" }, { name = "magnitude", grain = "weight" }'
    folder = written(tmp_path / "own", methods)
    ended_ = invoke(
        "run", folder / "joint.toml", "--devices", "2", "--results", folder / "results", "--quiet",
        "--method-file", folder / "faulty.py",
    )  # fmt: skip
    assert (ended_.code, ended_.err) == (0, "")
    records = all_records(folder)
    kinds = [(r["method"], r["stage"], r["devices"]) for r in records]
    for method in ("faulty", "magnitude"):
        assert (method, "train", 2) in kinds
        assert (method, "prune", 1) in kinds
        assert (method, "finetune", 2) in kinds
    own, ours = (
        [(r["test_loss"], r["budget_reached"]) for r in records if r["method"] == method]
        for method in ("faulty", "magnitude")
    )
    assert own == ours  # the same scores


@pytest.mark.exhaustive
def test_whatever_one_process_fails_of_the_stage_fails_alone(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddp_group, "TIMEOUT", 60.0)
    methods = (
        '{ name = "faulty", how = ["dies", "raises", "hangs", "all"] }, { name = "magnitude" }'
    )
    folder = written(tmp_path / "faulty", methods)
    ended_ = invoke(
        "run", folder / "joint.toml", "--devices", "2", "--results", folder / "results",
        "--method-file", folder / "faulty.py",
    )  # fmt: skip
    assert ended_.code == 1
    assert "Traceback" not in ended_.err
    found = last_records(folder)
    reasons = {r["settings"].get("how"): r["reason"] for r in found.values()}
    assert reasons["dies"].startswith("train: the worker process was killed by signal 9")
    assert reasons["raises"].startswith("train: ValueError: broken here")
    assert reasons["raises"].endswith("(process 2 of 2)")
    assert reasons["all"].startswith("train: ValueError: broken here")
    assert "process" not in reasons["all"]
    assert "imed out" in reasons["hangs"]
    assert "did not answer" in reasons["hangs"]
    assert reasons[None] is None


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_when_the_run_ends_every_process_ends(tmp_path: Path, how: str) -> None:
    folder = written(tmp_path / how, '{ name = "faulty", how = "lasts" }', epochs=10_000)
    process = started(folder)
    deadline = time.monotonic() + 180
    while not (folder / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if how == "killed":
        os.kill(process.pid, signal.SIGKILL)
        assert ended(process)[0] == -signal.SIGKILL
    else:
        os.killpg(process.pid, signal.SIGINT)
        code, err = ended(process)
        assert code == 130
        assert "Traceback" not in err
    deadline = time.monotonic() + 30
    while alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.exhaustive
def test_a_joint_training_goes_on_from_the_epoch_at_which_it_was_stopped(tmp_path: Path) -> None:
    methods = '{ name = "l0" }, { name = "gradual-magnitude" }'
    whole, broken = (written(tmp_path / name, methods, epochs=8) for name in ("whole", "broken"))
    assert ended(started(whole))[0] == 0
    stops = 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process = started(broken, "--save-every", "0")
        partial, before = broken / "results" / ".cache" / "partial", time.time()
        deadline = time.monotonic() + 180
        while process.poll() is None and not any(
            path.stat().st_mtime > before for path in partial.glob("*-[01]")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if process.poll() is None:
            os.killpg(process.pid, number)
        code, err = ended(process)
        assert code in (0, 128 + number), err
        stops += code != 0
    assert stops >= 2
    assert ended(started(broken))[0] == 0
    assert sum(record["resumed"] or 0 for record in all_records(broken)) >= 2

    def results(folder: Path) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in record.items() if k not in NOT_OF_A_RESULT}
            for record in all_records(folder)
        ]

    assert results(broken) == results(whole)
    assert list(partial.glob("*-[01]")) == []
