"""Imports of the commands: help, lists and reports do not wait for torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssbench.cli import inventory
from ssbench.method import describe
from ssbench.paths import method_folder

ROOT = Path(__file__).parents[2]
SLOW = {
    "altair", "matplotlib", "pandas", "scipy", "sklearn", "sympy", "timm", "torch._dynamo",
    "torch_pruning", "torchvision",
}  # fmt: skip
CALL = """
import sys
from ssbench.cli import app
sys.argv = ["ssbench", *{arguments}]
try:
    app.main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = sorted({{"torch", "pandas", "scipy", "sklearn", "torchvision"}} & sys.modules.keys())
print("imported:", heavy)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        *(["list", what] for what in ("methods", "experiments", "models", "datasets")),
    ],
    ids=" ".join,
)
def test_no_heavy_library_is_imported(arguments: list[str]) -> None:
    call = CALL.format(arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "imported: []"


def test_a_report_is_made_without_torch(tmp_path: Path) -> None:
    folder = ROOT / "results" / "reference" / "quickstart"
    call = CALL.format(
        arguments=["report", str(folder), "--format", "csv,md", "--out", str(tmp_path)]
    )
    ended = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert "torch" not in ended.stdout.splitlines()[-1]


def test_training_begins_without_slow_libraries(tiny: Path, tmp_path: Path) -> None:
    call = f"""
import sys
from pathlib import Path
from ssbench.executors import session
from ssbench.pruning import lazy_imports
session.prepare({str(tiny)!r}, session.Options(results=Path({str(tmp_path)!r})))
print("prepared:", sorted({SLOW!r} & sys.modules.keys()))
lazy_imports.torch_pruning().DependencyGraph
print("pruning:", sorted({SLOW!r} & sys.modules.keys()))
"""
    ended = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    # torch's optimisers import the first two themselves, in the trial step of every method.
    torchs = ["sympy", "torch._dynamo"]
    assert ended.stdout.splitlines() == [
        f"prepared: {torchs}", f"pruning: {[*torchs, 'torch_pruning']}"
    ]  # fmt: skip


def test_what_files_say_is_what_the_imported_methods_say() -> None:
    imported, broken = inventory.imported_methods([])
    assert broken == {}
    read = describe.described()
    assert read is not None
    assert sorted(read, key=lambda m: m.name) == sorted(imported, key=lambda m: m.name)


def test_a_file_that_is_not_plain_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = (method_folder() / "magnitude.py").read_text()
    path = tmp_path / "magnitude.py"
    monkeypatch.setattr(describe, "method_folder", lambda: tmp_path)
    path.write_text(plain)
    assert [method.name for method in describe.described() or []] == ["magnitude"]
    for broken in (
        plain + "\n)",
        plain.replace('"weight"', "next(iter(GRAINS))"),
        plain.replace("(Method)", "(Base)"),
        plain + plain,
    ):
        assert broken != plain
        path.write_text(broken)
        assert describe.described() is None
