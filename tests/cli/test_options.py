"""What people type first: the version, help, lists on a narrow screen, completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import ssbench
from ssbench.cli import lists, options
from ssbench.method import describe
from tests.support.command_line import Invoke


def test_the_version_and_the_short_option_for_help(invoke: Invoke) -> None:
    assert invoke("--version").out == f"ssbench {ssbench.__version__}\n"
    assert invoke("-h").out == invoke("--help").out
    assert "..." not in invoke("-h").out.replace("COMMAND [ARGS]...", "")
    assert "--dry-run" in invoke("run", "-h").out


@pytest.mark.parametrize("width", [80, 160])
def test_no_name_is_cut(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=width)
    lists.methods(console, lists.method_facts(describe.described() or []))
    lists.models(console, lists.network_facts())
    lists.datasets(console, lists.dataset_facts())
    lists.experiments(console, lists.experiment_facts())
    text = capsys.readouterr().out
    names = [each.name for each in describe.described() or []]
    names += [each.name for each in lists.network_facts()]
    names += [each.name for each in lists.dataset_facts()]
    names += [each.name for each in lists.experiment_facts()]
    assert len(names) > 50
    assert [name for name in names if f" {name} " not in text] == []
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ssbench re", {"report"}),
        ("ssbench run quick", {"quickstart"}),
        ("ssbench run --conc", {"--concurrency"}),
        ("ssbench list me", {"methods"}),
        ("ssbench run --only synaptic", {"synaptic-strength"}),
    ],
)
def test_completion_is_quick_and_right(words: str, expected: set[str], tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "_SSBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = Path(sys.executable).with_name("ssbench")
    began = os.times().children_user
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", program],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert set(ended.stdout.split()) == expected
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not imported & {"torch", "pandas", "numpy", "jinja2"}
    assert os.times().children_user - began < 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(shell: str, invoke: Invoke) -> None:
    script = invoke("completion", shell).out
    assert f"_SSBENCH_COMPLETE=complete_{shell}" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_names_for_completion_are_those_of_the_lists() -> None:
    assert options.experiment_names() == [each.name for each in lists.experiment_facts()]
    assert options.method_names() == sorted(each.name for each in describe.described() or [])
