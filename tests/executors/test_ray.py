"""Stages on a real Ray cluster: the same records bit for bit; processes and nodes that die.

They need Ray and take minutes: uv run --extra ray pytest -m exhaustive tests/executors/test_ray.py
"""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from ssbench.executors.progress import Quiet
from ssbench.executors.ray import compatibility
from ssbench.executors.session import Options, execute_missing, prepare
from ssbench.experiment.plan import stages
from ssbench.experiment.stage import Run, Stage
from ssbench.storage.files import make_folder
from ssbench.training.loop import Epoch
from tests.support.command_line import Invoke
from tests.support.pictures import make_pictures
from tests.support.processes import EXPERIMENT, alive, prepared, results, ssbench, weights

# Ray settles this when it is imported, and would start its workers by uv where the tests were.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

RAY = ("--executor", "ray", "--concurrency", "2")
HELD = '''
"""Waits in the middle of a training as long as a file is there."""
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Held(Method):
    """Say which process trains, and wait."""
    grain = "weight"
    folder: str = ""

    def attach(self, model, *, fresh=True):
        pass

    def penalty(self, model):
        return None

    def after_step(self, model, progress):
        folder = Path(self.folder)
        if "ssbench.executors.processes.trial" in sys.modules:
            return
        if folder.is_dir() and progress > 0.5:
            (folder / str(os.getpid())).touch()
            while (folder / "hold").exists():
                time.sleep(0.05)

    def scores(self, model):
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''
ONE = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = 0.5 }
train = { epochs = 3, lr = 0.05, schedule = "one-cycle", shift = 1 }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle", shift = 1 }
methods = [{ name = "counted", folder = "FOLDER" }, { name = "magnitude" }]
"""
IMAGES = """
dataset = "imagefolder:FOLDER"
models = ["mobilenet-v2"]
seeds = [0]
budget = { kept = 0.5 }
train = { epochs = 1, lr = 0.05, batch_size = 8 }
finetune = { epochs = 1, lr = 0.02, batch_size = 8 }
methods = [{ name = "magnitude" }]
"""
RAISES = '''
"""Cannot be scored."""
import sys
from dataclasses import dataclass
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Raises(Method):
    """Raise."""
    grain = "weight"

    def scores(self, model):
        if "ssbench.executors.processes.trial" in sys.modules:
            return {name: weight.abs() for name, weight in prunable_weights(model).items()}
        raise ZeroDivisionError("no score")
'''


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=1800)
    return process.returncode, err


def until(true: Callable[[], object], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start a node of a cluster, in a group of processes of its own."""
    command = [str(Path(sys.executable).parent / "ray"), "start", "--block", *arguments]
    command += ["--include-dashboard=false"] if "--head" in arguments else []
    return subprocess.Popen(
        [*command, "--disable-usage-stats"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "SSBENCH_DATA": str(folder / "data"),
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` may be what started the tests
        },
        start_new_session=True,
    )


@contextmanager
def node(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir(exist_ok=True)
    process = start(*arguments, folder=folder)
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a node with all of its processes, workers too: they are in its group."""
    if alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def head(folder: Path, cpus: int = 1) -> Iterator[tuple[str, str]]:
    """A cluster of one node: its address, and that for clients."""
    port, client = free_port(), free_port()
    own = "--head", f"--port={port}", f"--ray-client-server-port={client}", f"--num-cpus={cpus}"
    with node(*own, folder=folder):
        for used in (port, client):
            until(partial(answers, used))
        yield f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}"


def answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(autouse=True)
def _token(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters and those who join them know a token, as Ray advises; it is of this test alone.

    Not where this very process joins: Ray settles whether there are tokens when it is imported.
    """
    if "tiny" in request.fixturenames:
        return
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepared(tmp_path_factory.mktemp("sequential"))
    assert ended(ssbench(folder)) == (0, "")
    return folder


def test_on_ray_is_sequential_bit_for_bit_and_every_stage_is_done_once(
    tmp_path: Path, sequential: Path
) -> None:
    folder = prepared(tmp_path / "ray")
    assert ended(ssbench(folder, *RAY)) == (0, "")
    assert len(results(folder)) == 10
    assert results(folder) == results(sequential)
    assert weights(folder) == weights(sequential)
    lines = (folder / "trained.txt").read_text().splitlines()
    did = [line.split()[0] for line in lines]
    assert (did.count("train"), did.count("scores")) == (2, 4)
    assert len({line.split()[-1] for line in lines}) == 2  # processes
    began = time.monotonic()
    assert ended(ssbench(folder, *RAY)) == (0, "")  # nothing is left to do: no cluster is started
    assert time.monotonic() - began < 60
    assert (folder / "trained.txt").read_text().splitlines() == lines


def test_what_the_store_has_is_used(tmp_path: Path, sequential: Path) -> None:
    folder = prepared(tmp_path / "ray")
    text = (folder / "kill.toml").read_text()
    (folder / "kill.toml").write_text(text.replace("kept = [0.5, 0.2]", "kept = 0.5"))
    assert ended(ssbench(folder)) == (0, "")
    (folder / "results" / "kill" / "experiment.json").unlink()
    for path in (folder / "results" / "kill").glob("*"):
        path.unlink()
    (folder / "kill.toml").write_text(text)
    assert ended(ssbench(folder, *RAY)) == (0, "")
    assert (folder / "trained.txt").read_text().count("train") == 2
    assert results(folder) == results(sequential)


def held(folder: Path) -> Path:
    """An experiment whose one sparse training waits; the folder that says so."""
    waiting = folder / "waiting"
    waiting.mkdir(parents=True)
    (waiting / "hold").touch()
    (folder / "kill.toml").write_text(ONE.replace("FOLDER", str(waiting)))
    (folder / "counted.py").write_text(HELD)
    return waiting


def pids(waiting: Path) -> list[int]:
    return [int(path.name) for path in waiting.iterdir() if path.name != "hold"]


def test_a_worker_that_is_killed_in_mid_stage_costs_time_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    waiting = held(folder)
    process = ssbench(folder, *RAY)
    until(lambda: pids(waiting))
    (first,) = pids(waiting)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(pids(waiting)) == 2)
    (waiting / "hold").unlink()
    assert ended(process) == (0, "")
    on_ray = results(folder), weights(folder)
    (folder / "results").rename(folder / "on_ray")
    assert ended(ssbench(folder)) == (0, "")  # in the same folder: its name is a setting
    assert on_ray == (results(folder), weights(folder))


def test_a_stage_that_kills_its_worker_every_time_fails_alone(tmp_path: Path) -> None:
    text = EXPERIMENT.replace('{ name = "counted",', '{ name = "counted", deadly = [false, true],')
    text = text.replace("seeds = [0, 1]", "seeds = [0]").replace("[0.5, 0.2]", "0.5")
    folder = prepared(tmp_path / "deadly", text)
    code, err = ended(ssbench(folder, *RAY))
    assert code == 1, err
    assert "Traceback" not in err
    found = results(folder)
    failed = [lines[-1] for lines in found.values() if lines[-1]["reason"]]
    assert (len(found), len(failed)) == (4, 1)
    for last in failed:
        assert last["settings"]["deadly"] is True
        assert str(last["reason"]).startswith("prune: the worker was lost 4 times")
    lines = (folder / "trained.txt").read_text().splitlines()
    assert sum(line.startswith("scores True") for line in lines) == 4


def test_a_stage_that_fails_fails_as_it_does_in_sequence(tmp_path: Path) -> None:
    reasons = []
    for name, how in (("sequence", ()), ("ray", RAY)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "counted.py").write_text(RAISES)
        (folder / "kill.toml").write_text(ONE.replace(', folder = "FOLDER"', ""))
        assert ended(ssbench(folder, *how))[0] == 1
        found = results(folder).values()
        reasons.append([(s[-1]["run"], s[-1]["reason"], len(s)) for s in found])
    assert reasons[0] == reasons[1]
    assert any("ZeroDivisionError: no score (counted.py, line 15)" in str(r) for r in reasons[0])


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_when_the_run_ends_every_process_ends_and_nothing_is_lost(
    tmp_path: Path, how: str, sequential: Path
) -> None:
    folder = prepared(tmp_path / "stopped")
    process = ssbench(folder, *RAY)
    root = folder / "results" / ".cache" / "stages"
    until(lambda: list(root.glob("[!u]*")))
    workers = {int(p) for p in _below(process.pid)}
    assert len(workers) > 3
    if how == "killed":
        os.kill(process.pid, signal.SIGKILL)
        assert ended(process)[0] == -signal.SIGKILL
    else:
        os.killpg(process.pid, signal.SIGINT)
        code, err = ended(process)
        assert code == 130
        assert "start again to continue" in err
        assert "Traceback" not in err
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    kept = {path.name for path in root.glob("[!u]*")}
    assert ended(ssbench(folder, *RAY)) == (0, "")
    assert kept <= {path.name for path in root.glob("[!u]*")}
    assert results(folder) == results(sequential)


def _below(parent: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), set()).add(int(path.parent.name))
    found: set[int] = set()
    left = [parent]
    while left:
        new = children.get(left.pop(), set())
        found |= new
        left += new
    return found


@pytest.mark.parametrize("client", [False, True], ids=["address", "client"])
def test_on_a_cluster_that_runs_already(tmp_path: Path, sequential: Path, client: bool) -> None:
    folder = prepared(tmp_path / "joined")
    with head(tmp_path / "head", cpus=2) as addresses:
        address = addresses[client]
        assert ended(ssbench(folder, "--executor", "ray", "--address", address)) == (0, "")
        assert results(folder) == results(sequential)
    lines = (tmp_path / "head" / "trained.txt").read_text()  # where the cluster was started
    assert (lines.count("train"), lines.count("scores")) == (2, 4)


def test_a_node_that_dies_in_mid_stage_costs_time_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "nodes"
    waiting = held(folder)
    with head(tmp_path / "head", cpus=0) as (address, _):
        join = f"--address={address}", "--num-cpus=1"
        with node(*join, folder=tmp_path / "first") as dying:
            process = ssbench(folder, "--executor", "ray", "--address", address)
            until(lambda: pids(waiting))
            (pid,) = pids(waiting)
            kill(dying)
            until(lambda: not Path(f"/proc/{pid}").exists())
            with node(*join, folder=tmp_path / "second"):
                until(lambda: len(pids(waiting)) == 2)
                (waiting / "hold").unlink()
                assert ended(process) == (0, "")
    found = results(folder)
    assert len(found) == 2
    assert all(lines[-1]["status"] == "done" for lines in found.values())


def test_images_of_a_folder_are_read_where_they_lie(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "pictures", count=4)
    folder = prepared(tmp_path / "images", IMAGES.replace("FOLDER", str(pictures)))
    assert ended(ssbench(folder, *RAY)) == (0, "")
    on_ray = results(folder), weights(folder)
    (folder / "results").rename(folder / "on_ray")
    assert ended(ssbench(folder)) == (0, "")
    assert on_ray == (results(folder), weights(folder))


class Told(Quiet):
    """Records the calls of an observer for each stage."""

    def __init__(self) -> None:
        super().__init__([], Console())
        self.of: dict[str, list[object]] = defaultdict(list)

    def stage_started(self, run: Run, stage: Stage) -> None:
        del run
        self.of[stage.id].append("started")

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        self.of[stage.id].append(epoch.number)

    def stage_done(self, stage: Stage) -> None:
        self.of[stage.id].append("done")


def test_every_epoch_is_reported_once_and_in_order(tiny: Path, tmp_path: Path) -> None:
    tiny.write_text(tiny.read_text().replace("epochs = 1", "epochs = 3"))
    options = Options(executor="ray", results=tmp_path / "results", concurrency=2)
    ready = prepare(str(tiny), options)
    make_folder(ready.results.folder, "--results")
    ready.store.prepare()
    told = Told()
    assert not execute_missing(ready, told).failed
    for stage in stages(ready.runs):
        assert told.of[stage.id] == ["started", *range(1, stage.epochs + 1), "done"]


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_where_something_else_listens_no_cluster_is_waited_for(
    scheme: str, tiny: Path, invoke: Invoke
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        refused = invoke("run", tiny, "--executor", "ray", "--address", address)
    assert refused.code == 2
    assert "something else listens" in refused.err
    assert time.monotonic() - began < 60


def test_another_version_on_a_worker_is_refused(
    tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = compatibility.here() | {"torch": "2.0.0"}
    monkeypatch.setattr(compatibility, "here", lambda: other)
    refused = invoke("run", tiny, "--executor", "ray", "--concurrency", "1")
    assert refused.code == 2
    assert "torch" in refused.err
    assert "the driver has 2.0.0" in refused.err
