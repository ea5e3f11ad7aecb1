"""The whole way: run, run again, report, show, a new method, an installed copy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssbench.paths import method_folder
from tests.support.command_line import TINY, Invoke
from tests.support.installed import installed, shell

ROOT = Path(__file__).parents[2]


def records(folder: Path) -> dict[str, list[dict[str, object]]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def test_run_again_report_and_show(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny)
    assert ended.code == 0, ended.err
    folder = Path("results/tiny")
    found = records(folder)
    assert len(found) == 3
    assert "[3/3] digits vgg6 magnitude" in ended.err
    assert "report: results/tiny/report.html" in ended.out
    assert "vgg6 on digits" in ended.out
    check_records(found)
    stages = {
        path.name: path.stat().st_mtime_ns for path in Path("results/.cache/stages").iterdir()
    }
    # One dense training serves all three runs.
    assert len(stages) == 1 + 1 + 2 * 2

    before = {path: path.read_bytes() for path in folder.iterdir()}
    again = invoke("run", tiny)
    assert again.code == 0
    assert "[" not in again.err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert {p.name: p.stat().st_mtime_ns for p in Path("results/.cache/stages").iterdir()} == stages

    rendered = invoke("report", "results", "--format", "md,csv", "--out", "elsewhere")
    assert rendered.code == 0
    assert (Path("elsewhere/tiny/report.md")).read_text().count("magnitude") >= 2
    assert not Path("elsewhere/tiny/report.tex").exists()

    shown = invoke("show", "magnitude-0.1")
    assert shown.code == 0
    assert "budget_reached" in shown.out
    several = invoke("show", "magnitude")
    assert several.code == 2
    assert "2 runs match" in several.err


def check_records(found: dict[str, list[dict[str, object]]]) -> None:
    for run, lines in found.items():
        kinds = [line["stage"] for line in lines]
        dense = "dense" in run
        assert kinds == (["train", "finetune"] if dense else ["train", "prune", "finetune"])
        assert all(set(line) == set(lines[0]) for line in lines)
        last = lines[-1]
        assert last["epochs_total"] == 2
        assert last["status"] == "done"
        assert last["params_dense"] == 288746 - (32 * 9 * 2)  # one input channel, not three
        for unit in ("params", "connections", "macs"):
            kept = [last[f"{unit}_{what}"] for what in ("dense", "nonzero", "compact")]
            assert all(isinstance(value, int) for value in kept)
            if not dense:
                assert kept[0] > kept[1] > 0
        if not dense:
            assert last["budget_reached"] == pytest.approx(last["budget_asked"], rel=5e-3)
            assert last["surgery_difference"] < 1e-5
            assert last["threshold"] is not None


def test_a_run_that_two_experiments_share_is_one(tiny: Path, invoke: Invoke) -> None:
    assert invoke("run", tiny, "--quiet").code == 0
    assert invoke("run", tiny, "--quiet", "--set", "name=again").code == 0
    (shared,) = Path("results/again").glob("*magnitude-0.1-*.jsonl")
    assert invoke("show", shared.stem).code == 0
    assert invoke("show", "magnitude-0.1-").code == 0
    # A folder of one experiment finds the checkpoints beside it.
    ended = invoke("export", shared.stem, "--results", "results/again", "--to", "small")
    assert ended.code == 0, ended.err


def test_dry_run_shows_the_tree_and_the_cost_and_writes_nothing(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--dry-run")
    assert ended.code == 0
    assert ended.out.count("to do") == 6 + 1
    assert ended.out.count("train digits vgg6 seed 0, plain") == 1
    # 1 training and 3 finetunings of an epoch over 1,000 images; three times 2.38 M MACs each.
    assert "to do: 6 stages, 4 epochs, 4,000 images, 2.85e+10 forward-backward MACs" in ended.out
    assert not Path("results").exists()
    invoke("run", tiny, "--quiet")
    after = invoke("run", tiny, "--dry-run")
    assert "to do: 0 stages, 0 epochs" in after.out
    assert after.out.count("done") == 6


def test_quiet_prints_nothing(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_listings(invoke: Invoke) -> None:
    methods = invoke("list", "methods")
    assert methods.code == 0
    for path in method_folder().glob("[!_]*.py"):
        assert path.stem.replace("_", "-") in methods.out
    assert "lambda = 0.0001" in methods.out
    assert "Lin et al." in " ".join(methods.out.split())
    assert "20,035,018" in invoke("list", "models").out
    assert "digits" in invoke("list", "datasets").out
    assert "quickstart" in invoke("list", "experiments").out


def test_a_seventh_method_is_one_file_and_nothing_else(tmp_path: Path, tiny: Path) -> None:
    environment = installed(tmp_path / "site")
    methods = tmp_path / "site" / "ssbench" / "methods"
    files = {p: p.read_bytes() for p in (tmp_path / "site").rglob("*") if p.is_file()}
    made = shell(environment, tmp_path, "new-method", "p-norm")
    assert made.returncode == 0, made.stderr
    assert Path(made.stdout.strip()) == methods / "p_norm.py"
    listed = shell(environment, tmp_path, "list", "methods")
    assert "p-norm" in listed.stdout
    tiny.write_text(TINY.replace('"magnitude", grain = "connection"', '"p-norm", power = 3.0'))
    ran = shell(environment, tmp_path, "run", tiny, "--results", "out")
    assert ran.returncode == 0, ran.stderr
    assert "p-norm" in (tmp_path / "out" / "tiny" / "report.md").read_text()
    assert len(list((tmp_path / "out" / "tiny").glob("digits-vgg6-p-norm-*.jsonl"))) == 2
    unchanged = {p: p.read_bytes() for p in files}
    assert unchanged == files
    twice = shell(environment, tmp_path, "new-method", "p-norm")
    assert twice.returncode == 2
    assert "already exists" in twice.stderr


@pytest.mark.slow
def test_the_written_skeleton_passes_the_contract_tests(tmp_path: Path) -> None:
    environment = installed(tmp_path / "site")
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    assert shell(environment, tmp_path, "new-method", "p-norm").returncode == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "p-norm",
               "tests/method/test_contract.py"]  # fmt: skip
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout


def test_shipped_experiments_are_found_by_name_from_an_installed_copy(tmp_path: Path) -> None:
    environment = installed(tmp_path / "site")
    ended = shell(environment, tmp_path, "run", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "quickstart: 207 runs" in ended.stdout


def test_a_method_file_of_ones_own_runs_from_anywhere(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    made = invoke("new-method", "my-own", "--folder", tmp_path)
    assert made.code == 0
    tiny.write_text(TINY.replace('"magnitude", grain = "connection"', '"my-own"'))
    ended = invoke("run", tiny, "--method-file", tmp_path / "my_own.py", "--quiet")
    assert ended.code == 0, ended.err
    assert len(list(Path("results/tiny").glob("*my-own*.jsonl"))) == 2
