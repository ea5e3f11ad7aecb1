"""Two processes on one folder share its stages, and one that is killed leaves nothing locked."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from ssbench.data.digits import digits
from ssbench.executors.coordinator import execute
from ssbench.executors.progress import Quiet
from ssbench.executors.protocol import Job
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load
from ssbench.experiment.stage import Run, Stage
from ssbench.method.registry import discover
from ssbench.pipeline.record import Record
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError, hold, sweep
from ssbench.storage.results import Results
from ssbench.training.device import resolve
from tests.support.command_line import TINY
from tests.support.processes import (
    ended,
    prepared,
    results,
    ssbench,
    stage_folders,
    trained,
    weights,
)

KILLER = """
import sys
from pathlib import Path
from ssbench.storage.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_excludes_and_says_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "stage"
    with hold(path):
        with pytest.raises(BusyError, match=f"process {os.getpid()} on "), hold(path):
            pass
        with hold(tmp_path / "locks" / "other"):
            pass
        sweep(path.parent)
        assert path.exists()  # in use
    assert not path.exists()
    with hold(path):
        pass


def test_a_process_that_is_killed_frees_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "stage"
    command = [sys.executable, "-c", KILLER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"process {process.pid} "), hold(path):
            pass
        process.kill()
        process.wait()
        assert path.exists()  # left behind, and no obstacle
        with hold(path):
            pass
    path.touch()
    sweep(tmp_path)
    assert not path.exists()


def _count(path: Path, counter: Path, rounds: int) -> None:
    for _ in range(rounds):
        while True:
            try:
                with hold(path):
                    number = int(counter.read_text())
                    counter.write_text(str(number + 1))
                break
            except BusyError:
                time.sleep(0)


def test_no_two_processes_ever_have_the_same_lock(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_count, args=(tmp_path / "lock", counter, 300)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert counter.read_text() == "1200"


@pytest.mark.exhaustive
@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_two_runs_together_compute_every_stage_once(tmp_path: Path, concurrency: str) -> None:
    alone, shared = prepared(tmp_path / "alone"), prepared(tmp_path / "shared")
    assert ended(ssbench(alone)) == (0, "")
    two = [ssbench(shared, "--concurrency", concurrency) for _ in range(2)]
    assert [ended(process) for process in two] == [(0, ""), (0, "")]
    assert results(shared) == results(alone)
    assert weights(shared) == weights(alone)
    assert trained(shared) == trained(alone) == {"train": 2, "scores": 4}
    workers = {line.split()[-1] for line in (shared / "trained.txt").read_text().splitlines()}
    assert len(workers) > 1  # both had a part in it
    assert not list((shared / "results" / ".cache" / "locks").rglob("*-*"))
    assert list((shared / "results" / "kill").glob("*.damaged*")) == []


class Patient(Quiet):
    """Notes what is done and waited for, and frees a lock when there is nothing else to do."""

    def __init__(self, runs: list[Run], lock: ExitStack) -> None:
        super().__init__(runs, Console())
        self.lock, self.seen = lock, list[str]()

    def stage_put_off(self, stage: Stage) -> None:
        self.seen.append(f"{stage.kind} {stage.id} put off")

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        super().run_done(run, result, before=before)
        self.seen.append(f"{run.file.name} done")

    def waiting(self, what: str) -> None:
        self.seen.append(what)
        self.lock.close()


def test_who_finds_a_stage_locked_does_other_runs_first_and_says_what_it_waits_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("[0.5, 0.1]", "[0.5]"))
    experiment, workbench = load(path), Workbench(digits(), resolve("cpu"))
    runs = plan(experiment, discover(), workbench.dataset.fingerprint, "tiny.toml")
    runs.sort(key=lambda run: run.file.name, reverse=True)  # magnitude, then dense
    prune = runs[0].stages[1]
    assert prune.kind == "prune"
    store, results_ = CheckpointStore(tmp_path), Results(tmp_path, experiment.manifest)
    store.prepare()
    results_.folder.mkdir()
    with ExitStack() as lock:
        lock.enter_context(store.lock(prune.id))
        observer = Patient(runs, lock)
        outcome = execute(runs, Job(workbench, store), results_, observer)
    assert len(outcome.done) == 2
    put_off = f"prune {prune.id} put off"
    waits = f"waiting for prune {prune.id[:8]}, held by process {os.getpid()} on "
    seen = [said for said in observer.seen if said != put_off]
    assert observer.seen[0] == put_off
    assert seen[0] == "dense done"
    assert seen[1].startswith(waits)
    assert seen[2:] == ["magnitude done"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("wait", [0.0, 0.15, 0.4])
def test_when_one_is_killed_in_mid_stage_the_other_takes_over(tmp_path: Path, wait: float) -> None:
    alone, shared = prepared(tmp_path / "alone"), prepared(tmp_path / "shared")
    assert ended(ssbench(alone)) == (0, "")
    victim, other = ssbench(shared), ssbench(shared)
    locks = shared / "results" / ".cache" / "locks" / "stages"
    deadline = time.monotonic() + 120
    mine = f"process {victim.pid} "
    while not any(mine in _text(path) for path in locks.glob("*")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(wait)
    finished = stage_folders(shared)
    os.kill(victim.pid, signal.SIGKILL)
    assert ended(victim)[0] == -signal.SIGKILL
    assert ended(other) == (0, "")
    assert stage_folders(shared) >= finished
    assert results(shared) == results(alone)
    assert weights(shared) == weights(alone)
    again = ssbench(shared)  # sweeps what the killed one left
    assert ended(again) == (0, "")
    assert list(locks.glob("*")) == []
    assert list((shared / "results" / ".cache" / "stages").glob("unfinished-*")) == []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
