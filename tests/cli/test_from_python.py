"""`ssbench.run` does what ``ssbench run`` does: the same ids, cache, records and refusals."""

import importlib
import io
import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import ssbench
from ssbench.cli import from_python
from ssbench.method.registry import discover
from ssbench.storage.toml import toml_value
from tests.support.command_line import TINY, Invoke

CONTENT: dict[str, Any] = tomllib.loads(TINY) | {"name": "tiny"}


def ids(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.jsonl")}


def records(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> ssbench.Results:
    """The tiny experiment, as a dict."""
    return ssbench.run(CONTENT, results=tmp_path_factory.mktemp("results"), quiet=True)


def test_a_dict_gives_the_runs_of_the_file(
    done: ssbench.Results, tiny: Path, invoke: Invoke
) -> None:
    """The command line finds nothing left to do: stages, records and report are the same."""
    before = {path: path.stat().st_mtime_ns for path in done.path.glob("*.jsonl")}
    assert len(before) == 3
    ended = invoke("run", tiny, "--results", done.path.parent)
    assert ended.code == 0, ended.err
    assert {path: path.stat().st_mtime_ns for path in done.path.glob("*.jsonl")} == before
    assert (done.path / "report.html").is_file()
    assert done.failed == {}
    assert set(done.runs["status"]) == {"done"}


def test_keyword_settings_are_overrides_of_the_command_line(
    done: ssbench.Results, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = done.path.parent / ".cache"
    again = ssbench.run(
        tiny, methods=["magnitude"], budget={"kept": 0.1}, train={"lr": 0.05}, seeds=[0],
        results=done.path.parent / "other", cache=cache,
    )  # fmt: skip
    command = records(again.path)[-1]["command"]
    assert command == [
        str(tiny), "--set", 'methods=[{ name = "magnitude" }]', "--set", "budget.kept=0.1",
        "--set", "train.lr=0.05",
    ]  # fmt: skip
    assert "[1/1] digits vgg6 magnitude" in capsys.readouterr().err
    assert {run.partition("-seed")[0] for run in ids(again.path)} == {"digits-vgg6-magnitude-0.1"}


def test_records_name_a_file_that_repeats_an_experiment_without_one(
    done: ssbench.Results, invoke: Invoke
) -> None:
    (command,) = {tuple(record["command"]) for record in records(done.path)}
    assert tomllib.loads(Path(command[0]).read_text()) == CONTENT
    ended = invoke("run", *command, "--results", done.path.parent, "--quiet")
    assert ended.code == 0, ended.err


def test_settings_alone_are_an_experiment(done: ssbench.Results) -> None:
    settings = {key: value for key, value in CONTENT.items() if key not in ("models", "dataset")}
    again = ssbench.run(
        data="digits", models=CONTENT["models"], **settings, results=done.path.parent, quiet=True
    )
    assert again.path == done.path
    assert ids(again.path) == ids(done.path)


def test_methods_may_be_classes_and_instances(done: ssbench.Results) -> None:
    magnitude = discover().methods["magnitude"].cls
    again = ssbench.run(
        CONTENT, methods=[magnitude(grain="connection"), {"name": "dense"}],
        results=done.path.parent, quiet=True,
    )  # fmt: skip
    assert ids(again.path) == ids(done.path)


OWN = """
from dataclasses import dataclass
from ssbench.method import Method, prunable_weights, to_grain


@dataclass(frozen=True, kw_only=True)
class Largest(Method):
    grain: str = "connection"
    power: float = 1.0

    def scores(self, model):
        weights = prunable_weights(model)
        return {name: to_grain(w.abs() ** self.power, self.grain) for name, w in weights.items()}
"""
SCRIPT = '''
import ssbench
from largest import Largest

recipe = {"epochs": 1, "lr": 0.05, "schedule": "one-cycle"}
results = ssbench.run(
    data="digits", models=["vgg6"], methods=[Largest(power=2.0)], seeds=[0], concurrency=1,
    budget={"kept": 0.5, "protection": 0.0}, train=recipe, finetune=recipe,
)
print(len(results.runs), results.failed, results.runs["setting_power"][0])
'''  # fmt: skip


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_a_method_of_its_own_once(tmp_path: Path) -> None:
    """Such a method has a process of its own, which must not run the script again."""
    (tmp_path / "largest.py").write_text(OWN)
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "1 {} 2\n", ended.stderr
    assert ended.stderr.count("[1/1] digits vgg6 largest") == 1


NET = """
from torch import nn


class Small(nn.Sequential):
    def __init__(self, classes, width=8):
        super().__init__(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, classes),
        )
"""


def test_a_network_of_ones_own_is_given_as_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file names the results: another content is another network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "small_net.py").write_text(NET)
    small = importlib.import_module("small_net").Small
    asked = {"methods": ["magnitude"], "budget": {"kept": 0.5, "protection": 0.0}, "quiet": True}
    results = ssbench.run(CONTENT, models=[small], **asked)
    (run,) = records(results.path)[-1:]
    assert run["model"] == "small_net.py:Small"
    assert results.failed == {}
    wide = {"name": "small_net.py:Small", "width": 16}
    both = ssbench.run(CONTENT, models=[small, wide], **asked)
    params = both.runs.groupby("model")["params_dense"].first()
    assert params["small_net.py:Small"] == run["params_dense"] < params.max()
    (tmp_path / "small_net.py").write_text(NET.replace("nn.ReLU(), nn.Fl", "nn.Tanh(), nn.Fl"))
    before = ids(both.path)
    again = ssbench.run(CONTENT, models=["small_net.py:Small"], **asked)
    assert len(ids(again.path) - before) == 1


class InThisFile:
    class Inside:
        pass


class Interrupting(io.StringIO):
    """What a notebook's output is, and an interrupt when the first run has finished."""

    def write(self, text: str) -> int:
        if "[1/3]" in text:
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def test_an_interrupt_ends_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    shown = Console(file=Interrupting(), force_terminal=False)
    monkeypatch.setattr(from_python, "progress_console", lambda: shown)
    with pytest.raises(KeyboardInterrupt, match="start again to continue"):
        ssbench.run(CONTENT, results=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("tiny/*.jsonl")}
    assert 1 <= len(first) < 3
    again = ssbench.run(CONTENT, results=tmp_path, quiet=True)
    assert len(ids(again.path)) == 3
    assert {path: path.stat().st_mtime_ns for path in first} == first


def test_arrays_are_kept_so_that_a_run_can_be_repeated(tmp_path: Path, invoke: Invoke) -> None:
    generator = np.random.RandomState(0)
    arrays: dict[str, Any] = {}
    for part, number in (("train", 60), ("val", 20), ("test", 20)):
        labels = np.arange(number) % 4
        pixels = generator.randint(0, 90, (number, 8, 8)) + 40 * labels[:, None, None]
        arrays |= {f"x_{part}": pixels.astype(np.uint8), f"y_{part}": torch.from_numpy(labels)}
    content = {key: value for key, value in CONTENT.items() if key != "dataset"}
    asked: dict[str, Any] = {
        "results": tmp_path / "results",
        "methods": ["magnitude"],
        "quiet": True,
    }
    results = ssbench.run(content, data=arrays, **asked)
    assert results.failed == {}
    (kept,) = (tmp_path / "results").glob("arrays-*.npz")
    same = ssbench.run(content, data=kept, **asked)
    assert ids(same.path) == ids(results.path)
    command = records(results.path)[-1]["command"]
    ended = invoke("run", *command, "--results", tmp_path / "results", "--quiet")
    assert ended.code == 0, ended.err
    with pytest.raises(ssbench.BadInputError, match="data: x_train is no array of numbers"):
        ssbench.run(content, data={"x_train": [object()]}, **asked)


def test_paths_and_tables_are_data_too(tmp_path: Path) -> None:
    assert from_python._data(tmp_path, tmp_path) == {"dataset": f"imagefolder:{tmp_path}"}
    table = {"size": 16, "normalise": "imagenet"}
    assert from_python._data(table, tmp_path) == {"data": table}


def test_what_no_file_holds_is_refused() -> None:
    names: dict[str, Any] = {}
    exec("class Typed: pass", names)  # noqa: S102 -- as in a notebook
    for models, message in (
        ([names["Typed"]], r"models.0: Typed is in no file.*%%writefile my_file.py"),
        ([nn.Linear(1, 1)], r"models.0: a Linear has weights already.*ssbench.prune"),
        ([3], r"models.0: 3 is no network"),
        ("vgg6", r"models: 'vgg6' is no list; write \['vgg6'\]"),
    ):
        with pytest.raises(ssbench.BadInputError, match=message):
            ssbench.run(CONTENT, models=models)
    with pytest.raises(ssbench.BadInputError, match=r"methods.0: 3 is no method"):
        ssbench.run(CONTENT, methods=[3])


def test_a_class_is_named_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    assert from_python._model(InThisFile, "models.0") == "test_from_python.py:InThisFile"
    with pytest.raises(ssbench.BadInputError, match="move it to the top level"):
        from_python._model(InThisFile.Inside, "models.0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trian": {}}, "experiment: trian: unknown key; did you mean 'train'"),
        ({"train": {"epoch": 1}}, "experiment: train.epoch: unknown key; did you mean 'epochs'"),
        ({"title": object()}, "title: <object object at .*> is no value of an experiment"),
        ({"budget": {1: 2}}, "budget: the key 1 is not text"),
        ({"data": "digit"}, "dataset: unknown data set 'digit'; did you mean 'digits'"),
        ({"device": "gpu"}, "--device gpu: known: auto"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_and_leave_nothing(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ssbench.BadInputError, match=message):
        ssbench.run(CONTENT, results=tmp_path / "results", **settings)
    assert not (tmp_path / "results").exists()


def test_values_are_written_as_toml_reads_them() -> None:
    text = 'quote " back \\ line \n tab \t bell \x07 del \x7f umlaut ü'
    value = {"a b": [1, 2.5, -1e-30, True, text], "nested": {"x": [{"y": 1}]}, "path": Path("a/b")}
    read = tomllib.loads(f"value = {toml_value(value, 'place')}")["value"]
    assert read == value | {"path": "a/b"}
    assert toml_value(np.float32(0.5), "place") == "0.5"
    assert toml_value((np.int64(3),), "place") == "[3]"
