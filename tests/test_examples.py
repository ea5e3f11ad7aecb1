"""Every example runs as its command says."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import altair
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

import ssbench
from docs import execute
from tests.support.command_line import Invoke
from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples"
QUICK = ("--set", "train.epochs=1", "--set", "finetune.epochs=1")


def python(*arguments: object) -> str:
    """Run a program as a user does, and return what it prints."""
    command = [sys.executable, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"^\| `([\w.]+)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}


@pytest.mark.slow
def test_own_method_then_its_export(invoke: Invoke, tmp_path: Path) -> None:
    results, small = tmp_path / "results", tmp_path / "small"
    own = ("--method-file", EXAMPLES / "kernel_norm.py", "--results", results)
    less = (*QUICK, "--set", "budget.kept=[0.1]", "--quiet")
    ended = invoke("run", EXAMPLES / "own_method.toml", *own, *less)
    assert ended.code == 0, ended.err

    ended = invoke("export", "kernel-norm-0.1", "--to", small, "--results", results)
    assert ended.code == 0, ended.err

    record = json.loads((small / "network.json").read_text())["run"]
    said = python(EXAMPLES / "loaded_export.py", small)
    assert f"{record['params_compact']:,} params" in said
    assert f"test error {record['test_top1_error']:.2f} %" in said


@pytest.mark.slow
def test_own_network(invoke: Invoke, tmp_path: Path) -> None:
    ended = invoke("run", EXAMPLES / "own_network.toml", "--results", tmp_path, *QUICK)
    assert ended.code == 0, ended.err
    assert "own_network.py:TwoPaths on digits" in ended.out
    assert "own_network.py:TwoPaths(width=16) on digits" in ended.out
    assert (tmp_path / "own_network" / "report.html").is_file()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of handwritten digits as colour images of 32 pixels, in four classes."""
    found = load_digits()
    chosen = [(i, p) for i, p in enumerate(found.images[:240]) if found.target[i] < 4]
    root = tmp_path_factory.mktemp("photos")
    for number, (index, pixels) in enumerate(chosen):
        part = ("train", "train", "train", "val", "test")[number % 5]
        folder = root / part / f"digit {found.target[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        big = np.kron(pixels * 15, np.ones((4, 4))).astype(np.uint8)
        Image.fromarray(np.stack([big, big.T, 255 - big], -1)).save(folder / f"{index}.png")
    return root


SIX = tomllib.loads((EXAMPLES / "six_networks.toml").read_text())["models"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [*(pytest.param(m, marks=pytest.mark.exhaustive) for m in SIX[:-1]), SIX[-1]]
)
def test_six_networks(model: str, photos: Path, invoke: Invoke, tmp_path: Path) -> None:
    """Networks that nobody here wrote, on a folder of images, by four methods, certified."""
    pytest.importorskip("timm")
    chosen = ("--set", f'models=["{model}"]', "--set", f"dataset=imagefolder:{photos}")
    ended = invoke("run", EXAMPLES / "six_networks.toml", "--results", tmp_path, "--quiet", *chosen)
    assert ended.code == 0, ended.err
    lasts = [
        json.loads(path.read_text().splitlines()[-1])
        for path in (tmp_path / "six_networks").glob("*.jsonl")
    ]
    assert sorted((each["method"], each["grain"]) for each in lasts) == [
        ("fpgm", "filter"), ("magnitude", "filter"), ("magnitude", "weight"),
        ("synaptic-strength", "connection"),
    ]  # fmt: skip
    for each in lasts:
        assert each["status"] == "done"
        assert each["surgery_difference"] < 1e-5
        assert each["params_nonzero"] / each["params_dense"] == pytest.approx(0.5, abs=0.02)
        assert each["image_shape"] == [3, 32, 32]
    attends = [each for each in lasts if "vit" in model and each["grain"] == "filter"]
    assert all("attention heads stay whole" in each["untouched"].values() for each in attends)


GIVEN = """
dataset = "imagefolder:photos"
models = [{ name = "torchvision:resnet18", weights = "resnet18.pth" }]
seeds = [0]
budget = { unit = "params", kept = [0.5], protection = 0.0 }
train = { epochs = 0 }
finetune = { epochs = 0 }
methods = [{ name = "magnitude", grain = ["filter", "weight"] }]
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_weights_of_torchvision_are_pruned_without_training(
    photos: Path, invoke: Invoke, tmp_path: Path
) -> None:
    network = torchvision.models.resnet18(num_classes=4)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    path = tmp_path / "given.toml"
    path.write_text(GIVEN)
    ended = invoke("run", path, "--set", f"dataset=imagefolder:{photos}")
    assert ended.code == 0, ended.err
    assert "torchvision:resnet18 from resnet18.pth on imagefolder" in ended.out
    ended = invoke("export", "magnitude-0.5", "--to", "small", "--results", "results")
    assert "2 runs match" in ended.err  # single weights, and filters
    (run,) = [
        record["run"]
        for record in map(last, Path("results/given").glob("*.jsonl"))
        if record["grain"] == "filter"
    ]
    assert invoke("export", run, "--to", "small").code == 0
    kept = ssbench.load("small").state_dict()["layer1.0.conv1.weight"]
    original = network.state_dict()["layer1.0.conv1.weight"]
    assert len(kept) < len(original)
    assert set(kept.flatten().tolist()) <= set(original.flatten().tolist())


def last(path: Path) -> Any:
    """Return the last record of a run."""
    return json.loads(path.read_text().splitlines()[-1])


def kinds(notebook: Any) -> list[list[str]]:
    """What each code cell puts out: 'stream', or the kinds of a result."""
    return [
        [
            " ".join(sorted(output.get("data", {output["output_type"]: ""})))
            for output in cell["outputs"]
        ]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


@pytest.mark.slow
def test_the_executed_notebook_runs_in_a_kernel_as_it_was_committed(tmp_path: Path) -> None:
    """Its numbers are those of one machine; what kinds of outputs there are is the same on all."""
    for path in execute.EXECUTED:
        committed = json.loads(path.read_text())
        counts = [c["execution_count"] for c in committed["cells"] if c["cell_type"] == "code"]
        assert counts == list(range(1, len(counts) + 1)), "execute it: python -m docs.execute"
        assert kinds(execute.executed(path, tmp_path)) == kinds(committed)
        assert "jsdelivr" not in path.read_text(), "a picture that asks the network for a script"
        assert str(ROOT) not in path.read_text()


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run in order, each by Python itself; none of them has a notebook's magic."""
    monkeypatch.chdir(EXAMPLES)
    names: dict[str, object] = {}
    for cell in json.loads((EXAMPLES / "results.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "commit it without outputs: they grow stale"
            exec("".join(cell["source"]), names)  # noqa: S102 -- a file of this repository
    table, chart = names["table"], names["chart"]
    assert isinstance(table, pd.DataFrame)
    assert set(table["count"]) == {3}
    assert isinstance(chart, altair.Chart)
    assert chart.to_dict()["mark"]
