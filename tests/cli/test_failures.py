"""A run that fails is recorded with its reason; the others go on; the exit code is 1."""

import gc
import json
import multiprocessing
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssbench.executors.processes.process import Process
from ssbench.executors.protocol import Failed
from ssbench.executors.stage_runner import StageFailedError
from ssbench.pipeline import stages
from ssbench.training.device import is_lost
from ssbench.training.loop import train
from tests.support.command_line import TINY, Invoke

RAISES = '''
"""Fails when it scores."""
from dataclasses import dataclass
from ssbench.method import Method

@dataclass(frozen=True, kw_only=True)
class Raises(Method):
    """Fail."""
    grain = "connection"
    how: str = "error"

    def scores(self, model):
        if self.how == "memory":
            raise MemoryError("no room")
        if self.how == "nan":
            from ssbench.method import prunable_weights
            return {name: weight * float("nan") for name, weight in prunable_weights(model).items()}
        raise RuntimeError("<b>cannot</b> score_this")
'''


def last(folder: Path, part: str) -> dict[str, object]:
    (path, *_) = sorted(folder.glob(f"*{part}*.jsonl"))
    record: dict[str, object] = json.loads(path.read_text().splitlines()[-1])
    return record


def test_a_method_that_raises_fails_alone(tmp_path: Path, tiny: Path, invoke: Invoke) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    how = '{ name = "raises", how = ["error", "memory", "nan"], budget = { kept = 0.5 } }, '
    tiny.write_text(TINY.replace('{ name = "magnitude"', how + '{ name = "magnitude"'))
    arguments = ("run", tiny, "--method-file", tmp_path / "raises.py")
    ended = invoke(*arguments)
    assert ended.code == 1
    folder = Path("results/tiny")
    found = [json.loads(p.read_text().splitlines()[-1]) for p in folder.glob("*raises*.jsonl")]
    reasons = " ".join(str(record["reason"]) for record in found)
    assert all(record["status"] == "failed" for record in found)
    assert "RuntimeError: <b>cannot</b> score_this (raises.py, line" in reasons
    assert "out of memory (no room)" in reasons
    assert "NaN" in reasons
    assert last(folder, "magnitude")["status"] == "done"
    page = (folder / "report.html").read_text()
    assert "&lt;b&gt;cannot&lt;/b&gt; score_this" in page
    assert "<b>cannot" not in page
    assert "failed" in ended.out

    again = invoke(*arguments)  # kept as they are
    assert again.code == 1
    assert "--retry-failed" in again.err
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.jsonl")}
    assert invoke(*arguments, "--retry-failed").code == 1
    changed = {path.name for path, then in before.items() if path.stat().st_mtime_ns != then}
    assert len(changed) == 3  # the failed runs were tried again, the others were not
    assert all("raises" in name for name in changed)


INSIDE = RAISES.replace(
    'raise RuntimeError("<b>cannot</b> score_this")', "return model(torch.zeros(1, 99, 8, 8))"
).replace("from dataclasses", "import torch\nfrom dataclasses", 1)
IN_A_TRIAL = """import sys
        if "ssbench.executors.processes.trial" in sys.modules:
            from ssbench.method import prunable_weights
            return {name: weight.abs() for name, weight in prunable_weights(model).items()}
        """
"""Only the stage fails, not the trial before the training."""
WRONG = RAISES.replace(
    'raise RuntimeError("<b>cannot</b> score_this")', IN_A_TRIAL + "return {}"
).replace('grain = "connection"', 'grain = "weight"')


@pytest.mark.parametrize(
    ("source", "at_fault"), [(INSIDE, "return model(torch"), (WRONG, "class Raises")]
)
def test_a_fault_names_the_users_line_and_keeps_its_traceback(
    source: str, at_fault: str, tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    """torch, or ssbench, raises; the line to look at is the method's."""
    (tmp_path / "raises.py").write_text(source)
    lines = source.splitlines()
    number = next(n for n, line in enumerate(lines, 1) if at_fault in line)
    number -= at_fault.startswith("class")  # Python counts the decorator
    entry = 'methods = [{ name = "dense" }, { name = "raises", budget = { kept = 0.5 } }]'
    tiny.write_text(TINY[: TINY.index("methods =")] + entry)
    assert invoke("run", tiny, "--method-file", tmp_path / "raises.py").code == 1
    record = last(Path("results/tiny"), "raises")
    assert f"(raises.py, line {number}" in str(record["reason"])
    shown = invoke("show", "raises", "--traceback")
    assert shown.code == 0
    assert shown.out.startswith("Traceback (most recent call last):")
    if at_fault.startswith("return"):
        assert f'raises.py", line {number}, in scores' in shown.out
    assert "traceback" not in invoke("show", "raises").out


def test_a_run_that_did_not_fail_has_no_traceback(tiny: Path, invoke: Invoke) -> None:
    assert invoke("run", tiny, "--only", "dense", "--quiet").code == 0
    shown = invoke("show", "dense", "--traceback")
    assert shown.code == 2
    assert "did not fail" in shown.err


def test_a_training_that_diverges_fails_with_all_that_build_on_it(
    tiny: Path, invoke: Invoke
) -> None:
    tiny.write_text(TINY.replace("lr = 0.05", "lr = 100.0, weight_decay = 1.0"))
    ended = invoke("run", tiny)
    assert ended.code == 1
    folder = Path("results/tiny")
    paths = sorted(folder.glob("*.jsonl"))
    assert len(paths) == 3
    for path in paths:
        record = json.loads(path.read_text().splitlines()[-1])
        assert record["status"] == "failed"
        assert record["stage"] == "train"
        assert "diverged: the training loss is" in record["reason"]
        assert record["diverged_epoch"] == 1
        assert record["test_top1_error"] is None
    assert (folder / "report.md").read_text().count(" | train | 1 | train: diverged: ") == 3


def test_what_a_failed_stage_had_in_memory_is_let_go(
    tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU all later stages would lack it."""
    left: list[weakref.ref[nn.Module]] = []
    alive: list[int] = []

    def failing(model: nn.Module, *_: object) -> None:
        gc.collect()  # as is done on a GPU before each stage
        alive.append(sum(each() is not None for each in left))
        left.append(weakref.ref(model))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stages, "train", failing)
    monkeypatch.setattr("ssbench.cli.run.show", lambda *_, **__: None)
    two = TINY.replace("seeds = [0]", "seeds = [0, 1]")
    tiny.write_text(two.replace('{ name = "magnitude", grain = "connection" }', '{ name = "l0" }'))
    assert invoke("run", tiny, "--quiet").code == 1
    assert not any(alive)
    assert len(alive) in (4, 5)  # five where this process has not tried the method before
    assert last(Path("results/tiny"), "l0")["reason"] == "train: out of memory (CUDA out of memory)"


def test_without_its_gpu_a_process_fails_one_run_and_ends(
    tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[nn.Module] = []
    assert invoke("run", tiny, "--dry-run").code == 0  # tries every method, once in a process

    def failing(model: nn.Module, *_: object) -> None:
        begun.append(model)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(stages, "train", failing)
    monkeypatch.setattr("ssbench.cli.run.show", lambda *_, **__: None)
    monkeypatch.setattr("ssbench.executors.stage_runner.is_lost", lambda _: True)
    tiny.write_text(TINY.replace("seeds = [0]", "seeds = [0, 1]"))
    ended = invoke("run", tiny, "--quiet")
    assert (ended.code, len(begun)) == (2, 1)
    assert "the GPU no longer answers this process" in ended.err
    assert "an illegal memory access" in str(last(Path("results/tiny"), "dense")["reason"])
    monkeypatch.setattr(stages, "train", train)
    again = invoke("run", tiny, "--quiet")
    assert again.code == 1  # the one that failed stays so
    assert len(list(Path("results/tiny").glob("*.jsonl"))) == 6


def test_a_gpu_that_answers_no_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", refuse)
    assert is_lost(torch.device("cuda"))
    assert not is_lost(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    assert not is_lost(torch.device("cuda"))


@pytest.mark.parametrize("lost", [True, False])
def test_a_worker_without_its_gpu_is_given_no_more_stages(lost: bool) -> None:
    worker = object.__new__(Process)
    worker.pipe, theirs = multiprocessing.Pipe()
    ended: list[float] = []
    worker.process = SimpleNamespace(join=ended.append, is_alive=lambda: False)  # type: ignore[assignment]
    worker.stage, worker.lost = None, False
    theirs.send(StageFailedError("train: broken", {}, lost=lost).message())
    assert worker.message() == Failed("train: broken", {}, lost)
    assert (worker.lost, worker.pipe.closed, len(ended)) == (lost, lost, int(lost))
