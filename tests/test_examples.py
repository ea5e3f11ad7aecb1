"""Every example runs as its command says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import altair
import pandas as pd
import pytest

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
def test_own_network(tmp_path: Path) -> None:
    script = EXAMPLES / "own_network.py"
    said = python(script, "--results", tmp_path, *QUICK)
    assert "timm:two_paths on digits" in said
    assert (tmp_path / "own_network" / "report.html").is_file()


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
