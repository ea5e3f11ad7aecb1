"""What the project says to install exists, under a name that is not a stranger's.

`ssbench` on the package index is another project: installing it would run a stranger's code.
"""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from ssbench import paths
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXTS = (".cff", ".html", ".ipynb", ".j2", ".md", ".py", ".toml", ".yaml", ".yml")
_EXTRA_OF = re.compile(r"([\w.-]*\bssbench[\w.-]*)\[([a-z0-9,]+)\]")
_PIP = re.compile(r"pip install\s+([^`#\n&|;)]+)")
_UV = re.compile(r"--extra[ =]([a-z0-9]+)")
_OWN = Path(__file__).name


def texts() -> list[Path]:
    """Return every text of the checkout that a user may read."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [ROOT / name for name in listed.stdout.splitlines()]
    return [
        path
        for path in found
        if (path.suffix in TEXTS or path.parent.name == ".ci") and path.name != _OWN
        if path.is_file()
    ]


def wrong_hints(text: str) -> list[str]:
    """Return the install hints of a text that name a stranger's package or no extra of ours."""
    extras = PROJECT["optional-dependencies"]
    wrong = []
    for found in _EXTRA_OF.finditer(text):
        unknown = set(found[2].split(",")) - set(extras)
        # Of another name only known extras are a hint: in code an index may follow it.
        if (found[1] == PROJECT["name"]) == bool(unknown):
            wrong.append(found[0])
    for found in _PIP.finditer(text):
        words = [word for word in found[1].split() if not word.startswith("-")]
        names = [re.sub(r"^['\"]?([\w.-]*).*", r"\1", word) for word in words]
        wrong += [found[0] for name in names if name == "ssbench"]
    return wrong + [found[0] for found in _UV.finditer(text) if found[1] not in extras]


def test_every_hint_names_this_project() -> None:
    wrong = {str(path): wrong_hints(path.read_text(errors="replace")) for path in texts()}
    assert {path: hints for path, hints in wrong.items() if hints} == {}


def test_hints_are_found_in_every_kind_of_text() -> None:
    for wrong in ("pip install ssbench", "pip install 'ssbench[onnx]'", "install ssbench[tune]",
                  "pip install --upgrade ssbench", "uv sync --extra onxx",
                  "pip install ssbench-pruning[onxx]"):  # fmt: skip
        assert wrong_hints(f"text {wrong}, more") != [], wrong
    for right in ("pip install 'ssbench-pruning[onnx,tune]'", "uv run --extra ray ssbench run",
                  "pip install uv", "from ssbench.report import x"):  # fmt: skip
        assert wrong_hints(f"text {right}; more") == [], right
    read = {path.relative_to(ROOT).as_posix() for path in texts()}
    assert {"README.md", "docs/scaling.md", "ssbench/paths.py", "examples/results.ipynb"} <= read


def test_messages_say_how_to_install_here_and_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PROJECT["name"] == paths.DISTRIBUTION != "ssbench"
    assert paths.install("onnx") == "uv sync --extra onnx"
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert paths.install("onnx") == "pip install 'ssbench-pruning[onnx]'"


def test_every_extra_that_a_message_names_exists() -> None:
    named = {
        extra
        for path in (ROOT / "ssbench").rglob("*.py")
        for extra in re.findall(r"install\(['\"](\w+)['\"]\)", path.read_text())
    }
    assert {"onnx", "parquet", "ray", "tune"} <= named <= set(PROJECT["optional-dependencies"])


def test_the_readme_begins_with_how_to_get_the_project() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    first = next(line for line in lines if line.startswith("    "))
    assert first.startswith("    git clone ")
