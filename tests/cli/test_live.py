"""What runs is seen while it runs: in files, in a terminal, on a page, in TensorBoard."""

import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ssbench.cli import live_page, watch
from ssbench.executors import callbacks
from ssbench.executors.listeners import EVERY, Recorder
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover
from ssbench.storage import files
from ssbench.storage.live import FOLDER, read
from ssbench.training.loop import Epoch
from tests.support.command_line import TINY, Invoke
from tests.support.paths import ROOT

LONG = TINY.replace("epochs = 1", "epochs = 400")


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("epochs = 1", "epochs = 4"))
    return plan(load(path), discover(), "digits", "tiny.toml")


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_files_say_what_runs_and_are_written_at_most_once_a_second(
    runs: list[Run], tmp_path: Path
) -> None:
    clock, folder = Clock(), tmp_path / "tiny"
    recorder = Recorder(runs, folder, clock)
    run, stage = runs[0], runs[0].stages[0]
    recorder.stage_started(run, stage)
    (state,) = read(folder).stages
    assert (state.epoch, state.epochs, state.loss) == (0, 4, [])
    assert "dense" in state.run
    recorder.epoch(stage, Epoch(1, 4, 1.5, 60.0, 100.0))
    assert read(folder).stages[0].epoch == 0  # too soon
    clock.now += EVERY
    recorder.epoch(stage, Epoch(2, 4, float("nan"), 50.0, 100.0))
    (state,) = read(folder).stages
    assert (state.epoch, state.loss, state.error) == (2, [1.5, None], [60.0, 50.0])
    clock.now += EVERY
    recorder.stage_done(stage)
    recorder.run_done(run, {"status": "failed"}, before=False)
    live = read(folder)
    assert live.stages == []
    assert (live.runs[0].total, live.runs[0].finished, live.runs[0].failed) == (3, 1, 1)
    recorder.close()
    assert not (folder / FOLDER).exists()


def test_files_of_a_killed_process_are_told_apart_and_removed(
    runs: list[Run], tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    recorder = Recorder(runs, folder)
    (path,) = (folder / FOLDER).iterdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")))
    live = read(folder)
    assert (live.runs, live.killed) == ([], 1)
    _, facts = watch.Watcher(folder).look()
    drawing = watch.drawn(live, facts, 80)
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(drawing)
    assert "a run was killed here" in console.export_text()
    console.file.close()
    recorder.close()
    Recorder(runs, folder).close()
    assert not (folder / FOLDER).exists()


def test_a_disk_that_fails_stops_no_run(runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("in the way")
    recorder = Recorder(runs, tmp_path / "tiny")
    recorder.stage_started(runs[0], runs[0].stages[0])
    recorder.epoch(runs[0].stages[0], Epoch(1, 4, 1.0, 50.0, 100.0))
    recorder.stage_done(runs[0].stages[0])
    recorder.close()


def test_watch_draws_curves_rows_and_the_time_left(runs: list[Run], tmp_path: Path) -> None:
    clock, folder = Clock(), tmp_path / "tiny"
    recorder = Recorder(runs, folder, clock)
    stage = runs[0].stages[0]
    recorder.stage_started(runs[0], stage)
    for number in range(1, 5):
        clock.now += EVERY
        recorder.epoch(stage, Epoch(number, 4, 2.0 / number, 100.0 / number, 100.0))
    live, facts = watch.Watcher(folder).look()
    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=80, record=True, file=nowhere)
        console.print(watch.drawn(live, facts, 80))
    text = console.export_text()
    assert "train 4/4" in text
    assert "loss 0.5000 █" in text
    assert "error 25.00 % █" in text
    assert "0/3 runs finished, " in text
    assert "left" in text
    assert max(map(len, text.splitlines())) <= 80
    recorder.close()


def test_a_curve_is_as_long_as_its_values_or_the_room() -> None:
    assert watch.spark([], 10) == ""
    assert watch.spark([1.0], 10) == "▁"
    assert watch.spark([3.0, 2.0, 1.0], 10) == "█▅▁"
    assert len(watch.spark(list(range(100)), 10)) == 10


def test_watch_from_outside_while_a_run_is_under_way(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "long.toml"
    path.write_text(LONG)
    arguments = ["run", str(path), "--results", str(tmp_path / "r"), "--live", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssbench", *arguments, "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    try:
        facts = wait_for_epochs(tmp_path / "r", invoke)
        assert facts["experiment"] == "long"
        assert facts["total"] == 3
        (stage,) = facts["running"]
        assert len(stage["loss"]) == len(stage["error"]) > 0
        page = (tmp_path / "r/long/report.html").read_text()
        assert '<meta http-equiv="refresh"' in page
        assert "under way" in page
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert json.loads(invoke("watch", tmp_path / "r", "--json").out)["running"] == []
    words = invoke("watch", tmp_path / "r")
    assert "a run was killed here" in words.out


def test_the_report_replaces_the_live_page(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--only", "dense", "--live")
    assert ended.code == 0
    assert "live: results/tiny/report.html" in ended.err
    page = Path("results/tiny/report.html").read_text()
    assert "http-equiv" not in page
    assert "under way" not in page
    assert not (Path("results/tiny") / FOLDER).exists()
    assert "1 run finished; nothing runs" in invoke("watch").out
    before = page
    assert invoke("run", tiny, "--only", "dense", "--live", "--quiet").code == 0  # nothing to do
    assert Path("results/tiny/report.html").read_text() == before


def wait_for_epochs(results: Path, invoke: Invoke) -> Any:
    for _ in range(600):
        ended = invoke("watch", results, "--json")
        if ended.code == 0:
            facts = json.loads(ended.out)
            if facts["running"] and facts["running"][0]["epoch"]:
                return facts
        time.sleep(0.1)
    raise AssertionError("no epoch in a minute")


def test_watch_without_anything_to_see(tmp_path: Path, invoke: Invoke) -> None:
    ended = invoke("watch", tmp_path)
    assert ended.code == 2
    assert "nothing runs here" in ended.err


def test_the_live_page_shows_curves_and_rows_and_is_written_seldom(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[float] = []
    real, clock, folder = files.write, Clock(), tmp_path / "tiny"

    def counted(path: Path, content: bytes) -> None:
        written.append(clock.now)
        real(path, content)

    monkeypatch.setattr(live_page, "write", counted)
    recorder = Recorder(runs, folder, clock)
    page = live_page.LivePage(folder, recorder, clock)
    stage = runs[0].stages[0]
    for listener in (recorder, page):
        listener.stage_started(runs[0], stage)
    for number in range(1, 41):
        clock.now += 0.1
        for listener in (recorder, page):
            listener.epoch(stage, Epoch(number, 40, 1 / number, 50.0, 100.0))
    assert len(written) <= 3  # in four seconds
    text = (folder / "report.html").read_text()
    assert "<polyline" in text
    assert "0 of 3 runs are finished" in text
    recorder.close()


def test_tensorboard_reads_what_a_run_wrote(tiny: Path, tmp_path: Path, invoke: Invoke) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny.write_text(TINY.replace("epochs = 1", "epochs = 2"))
    ended = invoke("run", tiny, "--tensorboard", tmp_path / "board", "--only", "dense", "--quiet")
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "board" / "tiny").iterdir()
    read_back = {}
    for place in folder.iterdir():
        events = EventAccumulator(str(place)).Reload()
        read_back[place.name.partition("-")[0]] = {
            tag: [(each.step, each.value) for each in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    (path,) = Path("results/tiny").glob("*.jsonl")
    for line in map(json.loads, path.read_text().splitlines()):
        curves = read_back[line["stage"]]
        first = line["epochs_total"] - line["epochs"] + 1
        loss = [(first + n, pytest.approx(v, rel=1e-4)) for n, v in enumerate(line["curve_loss"])]
        assert curves["train/loss"] == loss
        assert [v for _, v in curves["train/error"]] == pytest.approx(line["curve_error"], rel=1e-4)
        assert curves["result/test_top1_error"] == [
            (line["epochs_total"], pytest.approx(line["test_top1_error"], rel=1e-4))
        ]


@pytest.mark.exhaustive  # needs the dependency group mlflow, and takes a minute
def test_the_mlflow_example_fills_mlflows_file_store(
    tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    tracker = import_file(ROOT / "examples" / "mlflow_tracker.py")
    install(monkeypatch, mlflow=tracker.Tracker)
    ended = invoke("run", tiny, "--only", "dense")
    assert ended.code == 0
    assert "callback" not in ended.err
    from mlflow.tracking import MlflowClient

    client = MlflowClient(Path("results/mlruns").resolve().as_uri())
    experiment = client.get_experiment_by_name("ssbench/tiny")
    found = {run.data.params["kind"]: run for run in client.search_runs([experiment.experiment_id])}
    (path,) = Path("results/tiny").glob("*.jsonl")
    for line in map(json.loads, path.read_text().splitlines()):
        run = found[line["stage"]]
        assert run.info.status == "FINISHED"
        assert run.data.params["method"] == "dense"
        assert run.data.metrics["test_top1_error"] == line["test_top1_error"]
        (point,) = client.get_metric_history(run.info.run_id, "train_loss")
        assert point.step == line["epochs_total"]
        assert point.value == pytest.approx(line["train_loss"], rel=1e-4)


def import_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Told:
    """A callback that keeps what it is told, as another package's would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder, list[tuple[str, Any]]()
        ALL.append(self)

    def stage_started(self, stage: Any) -> None:
        self.events.append(("started", stage["kind"]))

    def epoch_finished(self, stage: Any, epoch: Any) -> None:
        self.events.append(("epoch", (stage["epochs_before"] + epoch["number"], epoch["loss"])))

    def stage_finished(self, stage: Any, record: Any) -> None:
        assert json.dumps([stage, record])  # plain data
        self.events.append(("finished", record["test_top1_error"]))

    def run_failed(self, stage: Any, reason: str) -> None:
        self.events.append(("failed", (stage["method"], reason)))

    def close(self) -> None:
        self.events.append(("close", None))


class Raises(Told):
    """A callback with a fault."""

    def epoch_finished(self, stage: Any, epoch: Any) -> None:
        raise ValueError(f"no such {stage['kind']} in epoch {epoch['number']}")


ALL: list[Told] = []


def install(monkeypatch: pytest.MonkeyPatch, **factories: Any) -> None:
    entries = [
        SimpleNamespace(name=name, load=lambda made=made: made) for name, made in factories.items()
    ]
    real = importlib.metadata.entry_points

    def some(**chosen: Any) -> Any:
        return entries if chosen.get("group") == callbacks.GROUP else real(**chosen)

    monkeypatch.setattr(callbacks, "entry_points", some)
    ALL.clear()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_callbacks_are_told_of_every_stage_and_a_fault_stops_nothing(
    concurrency: int, tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise RuntimeError(f"not for {folder.name}")

    install(monkeypatch, good=Told, raises=Raises, broken=broken)
    ended = invoke("run", tiny, "--only", "dense", "--concurrency", concurrency)
    assert ended.code == 0
    good, raises = ALL
    assert good.folder == Path("results/tiny")
    kinds = [event for event, _ in good.events]
    assert kinds == ["started", "epoch", "finished", "started", "epoch", "finished", "close"]
    assert [fact[0] for event, fact in good.events if event == "epoch"] == [1, 2]
    assert [event for event, _ in raises.events] == ["started"]  # not called again
    words = " ".join(ended.err.split())
    assert "callback broken: cannot be made: RuntimeError: not for tiny (test_live.py" in words
    assert (
        words.count(
            "callback raises: epoch_finished: ValueError: no such train in epoch 1 (test_live"
        )
        == 1
    )


def test_callbacks_are_told_of_a_failed_run(
    tiny: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = '''
from dataclasses import dataclass
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Fails(Method):
    """Fail, at once or only after a real training."""
    grain = "weight"
    images: int = 0

    def scores(self, model, *, images):
        if images > self.images:
            raise RuntimeError("no score")
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''
    (tmp_path / "fails.py").write_text(source)
    entry = 'methods = ["dense", { name = "fails", images = [0, 2], budget = { kept = 0.5 } }]'
    tiny.write_text(TINY[: TINY.index("methods =")] + entry)
    install(monkeypatch, good=Told)
    assert invoke("run", tiny, "--method-file", tmp_path / "fails.py", "--quiet").code == 1
    failed = [fact for event, fact in ALL[0].events if event == "failed"]
    assert [method for method, _ in failed] == ["fails", "fails"]  # before and after a training
    assert all("RuntimeError: no score (fails.py, line 13)" in reason for _, reason in failed)
