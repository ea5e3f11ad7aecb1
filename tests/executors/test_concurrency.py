"""Stages in parallel: the same records bit for bit, each stage once, failures and interrupts."""

import io
import os
import signal
import time
from pathlib import Path

import pytest
from rich.console import Console

from ssbench.data.digits import digits
from ssbench.executors import capacity
from ssbench.executors.capacity import cores, fitting
from ssbench.executors.coordinator import Coordinator
from ssbench.executors.progress import Quiet
from ssbench.executors.schedule import Schedule
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import Experiment, load
from ssbench.method.registry import discover
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training.device import resolve
from tests.support.command_line import TINY, Invoke
from tests.support.processes import (
    EXPERIMENT,
    alive,
    ended,
    prepared,
    results,
    ssbench,
    weights,
)


@pytest.mark.slow
def test_side_by_side_is_sequential_bit_for_bit_and_every_stage_is_done_once(
    tmp_path: Path,
) -> None:
    one, two = prepared(tmp_path / "one"), prepared(tmp_path / "two")
    assert ended(ssbench(one)) == (0, "")
    assert ended(ssbench(two, "--concurrency", "2")) == (0, "")
    assert len(results(one)) == 10
    assert results(two) == results(one)
    assert weights(two) == weights(one)
    lines = (two / "trained.txt").read_text().splitlines()
    did = [line.split()[0] for line in lines]
    assert did.count("train") == 2  # two seeds: both budgets of a seed share its training
    assert did.count("scores") == 4
    assert len({line.split()[-1] for line in lines}) == 6  # a process for each stage
    before = (two / "results" / "kill" / "report.html").stat().st_mtime_ns
    assert ended(ssbench(two, "--concurrency", "2")) == (0, "")  # nothing is left to do
    assert (two / "results" / "kill" / "report.html").stat().st_mtime_ns == before
    assert (two / "trained.txt").read_text().splitlines() == lines


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_stage_alone(tmp_path: Path) -> None:
    text = EXPERIMENT.replace('{ name = "counted",', '{ name = "counted", deadly = [false, true],')
    folder = prepared(tmp_path / "deadly", text)
    code, err = ended(ssbench(folder, "--concurrency", "2"))
    assert code == 1
    assert "Traceback" not in err
    found = results(folder)
    failed = {run: stages_[-1] for run, stages_ in found.items() if stages_[-1]["reason"]}
    assert len(found) == 14
    assert len(failed) == 4
    for last in failed.values():
        assert last["settings"]["deadly"] is True
        assert str(last["reason"]).startswith("prune: the worker process was killed by signal 9")
        assert last["stage"] == "prune"


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [pytest.param("interrupted", marks=pytest.mark.exhaustive), "killed"]
)
def test_when_the_run_ends_every_process_ends_and_nothing_is_lost(tmp_path: Path, how: str) -> None:
    folder = prepared(tmp_path / "stopped")
    process = ssbench(folder, "--concurrency", "2")
    root = folder / "results" / ".cache" / "stages"
    deadline = time.monotonic() + 120
    while not list(root.glob("[!u]*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if how == "killed":
        os.kill(process.pid, signal.SIGKILL)
        code, _ = ended(process)
        assert code == -signal.SIGKILL
    else:
        os.killpg(process.pid, signal.SIGINT)
        code, err = ended(process)
        assert code == 130
        assert "start again to continue" in err
        assert "Traceback" not in err
        saved = list((folder / "results" / ".cache" / "partial").glob("[!u]*"))
        assert ("saved: " in err) == bool(saved)
    deadline = time.monotonic() + 30
    while alive(process.pid):  # python's own resource tracker ends a moment later
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = {path.name for path in root.glob("[!u]*")}
    assert ended(ssbench(folder, "--concurrency", "2")) == (0, "")
    assert kept <= {path.name for path in root.glob("[!u]*")}
    assert len(results(folder)) == 10


def test_the_schedule_gives_every_stage_once_after_its_parent(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(
        {
            "name": "x",
            "dataset": "digits",
            "models": ["vgg6"],
            "budget": {"kept": [0.5, 0.1], "passes": 2, "protection": 0.0},
            "methods": [{"name": "magnitude"}, {"name": "l0"}, {"name": "dense"}],
        }
    )
    runs = plan(experiment, discover(), "data", "x.toml")
    schedule = Schedule(runs, CheckpointStore(tmp_path))
    given: list[str] = []
    finished: list[str] = []
    while schedule.ready:
        stage = schedule.ready.popleft()
        assert stage.parent is None or stage.parent.id in given
        given.append(stage.id)
        finished += [run.id for run in schedule.done(stage)]
    assert sorted(given) == sorted({stage.id for stage in stages(runs)})
    assert sorted(finished) == sorted(run.id for run in runs)


def test_a_failed_stage_takes_what_builds_on_it_along(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(
        {
            "name": "x",
            "dataset": "digits",
            "models": ["vgg6"],
            "seeds": [0],
            "methods": [{"name": "magnitude"}, {"name": "l0"}],
        }
    )
    runs = plan(experiment, discover(), "data", "x.toml")
    schedule = Schedule(runs, CheckpointStore(tmp_path))
    failed = {run.id for run in schedule.failed(schedule.ready.popleft())}
    assert failed == {run.id for run in runs if run.file.name == "magnitude"}
    finished = []
    while schedule.ready:
        finished += [run.id for run in schedule.done(schedule.ready.popleft())]
    assert set(finished) == {run.id for run in runs} - failed


def test_a_stage_waits_for_a_parent_that_has_to_be_computed_again(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(
        {
            "name": "x",
            "dataset": "digits",
            "models": ["vgg6"],
            "seeds": [0],
            "budget": {"kept": [0.5, 0.1], "protection": 0.0},
            "methods": [{"name": "magnitude"}],
        }
    )
    runs = plan(experiment, discover(), "data", "x.toml")
    store = CheckpointStore(tmp_path)
    store.prepare()
    train = runs[0].stages[0]
    store.save(train.id, {}, {})
    for fails in (False, True):
        schedule = Schedule(runs, store)
        waiting = list(schedule.ready)
        assert {stage.kind for stage in waiting} == {"prune"}
        schedule.ready.clear()
        for stage in waiting:
            schedule.again(train, stage)
        assert [stage.id for stage in schedule.ready] == [train.id]  # once
        parent = schedule.ready.popleft()
        assert schedule.first_run(parent) in runs
        if fails:
            assert {run.id for run in schedule.failed(parent)} == {run.id for run in runs}
            assert not schedule.ready
            continue
        finished = [run.id for run in schedule.done(parent)]
        while schedule.ready:
            finished += [run.id for run in schedule.done(schedule.ready.popleft())]
        assert sorted(finished) == sorted(run.id for run in runs)


def test_a_run_whose_stages_have_gone_comes_up_again_when_the_workers_are_done(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    experiment = load(path)
    runs = plan(experiment, discover(), "data", "tiny.toml")
    store, results_ = CheckpointStore(tmp_path), Results(tmp_path, experiment.manifest)
    store.prepare()
    results_.folder.mkdir()
    whole = runs[0]
    for stage in whole.stages:
        store.save(stage.id, {}, {})
    (tmp_path / "stages" / whole.stages[0].id / "record.json").unlink()
    with Console(file=io.StringIO()) as console:
        clerk = Coordinator(runs, store, results_, Quiet(runs, console))
    assert not results_.has(whole.id)  # a stage of it is damaged
    planned = clerk.schedule
    planned.ready.clear()  # all are handed out
    clerk.running.add("a stage")
    assert clerk.goes_on()
    assert clerk.schedule is planned  # in which the workers' stages are looked up
    clerk.running.clear()
    assert clerk.goes_on()
    assert [stage.id for stage in clerk.schedule.ready] == [whole.stages[0].id]


def test_the_time_left_is_that_of_missing_stages(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    experiment = load(path)
    runs = plan(experiment, discover(), "data", "tiny.toml")
    store, results_ = CheckpointStore(tmp_path), Results(tmp_path, experiment.manifest)
    store.prepare()
    results_.folder.mkdir()
    train = runs[0].stages[0]
    store.save(train.id, {}, {})
    display = Quiet(runs, Console(quiet=True))
    assert train.id in display.work.left
    Coordinator(runs, store, results_, display)
    assert display.work.left.keys() == {stage.id for stage in stages(runs)} - {train.id}


def test_auto_fits_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    workbench = Workbench(digits(), resolve("cpu"))
    assert 1 <= fitting([], workbench) <= cores()
    monkeypatch.setattr(capacity, "_free_memory", lambda: 0)
    assert fitting([], workbench) == 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_processes_is_refused(value: str, tiny: Path, invoke: Invoke) -> None:
    ended_ = invoke("run", tiny, "--concurrency", value)
    assert ended_.code == 2
    assert "--concurrency" in ended_.err
