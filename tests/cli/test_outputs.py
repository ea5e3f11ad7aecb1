"""Every command prints JSON that its published schema describes, and ends with a stable code."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ssbench.cli.options import ExitCode
from ssbench.cli.outputs import OUTPUTS
from ssbench.pipeline import precheck
from ssbench.pruning import lazy_imports
from tests.support.command_line import TINY, Ended, Invoke
from tests.support.paths import ROOT

REFERENCE = ROOT / "results" / "reference" / "quickstart"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the results that the tests of this module share."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "tiny.toml").write_text(TINY)
    return folder


@pytest.fixture
def done(kept: Path, invoke: Invoke) -> Path:
    """The results of a small experiment, run once."""
    if not (kept / "results").exists():
        assert invoke("run", kept / "tiny.toml", "--results", kept / "results").code == 0
    return kept / "results"


def checked(ended: Ended, command: str) -> Any:
    """Return a command's JSON after checking it against the schema that the command publishes."""
    found = json.loads(ended.out)
    schema = OUTPUTS[command].model_json_schema()
    jsonschema.Draft202012Validator(schema).validate(found)
    return found


def test_list_alone_lists_everything(invoke: Invoke) -> None:
    found = checked(invoke("list", "--json"), "list")
    assert set(found) == {"methods", "models", "datasets", "experiments"}
    assert {"magnitude", "l0"} <= {each["name"] for each in found["methods"]}
    words = invoke("list").out
    assert all(each["name"] in words for kind in found.values() for each in kind)


def test_a_list_of_one_kind_holds_no_other(invoke: Invoke) -> None:
    assert set(checked(invoke("list", "datasets", "--json"), "list")) == {"datasets"}


def test_a_broken_method_is_named_with_exit_code_2(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "mine.py").write_text("import no_such_library\n")
    ended = invoke("list", "methods", "--json", "--method-file", tmp_path / "mine.py")
    assert ended.code == ExitCode.BAD_INPUT
    assert "no_such_library" in checked(ended, "list")["broken"]["mine"]


def test_run_and_its_plan(done: Path, kept: Path, invoke: Invoke) -> None:
    plan = invoke("run", kept / "tiny.toml", "--results", done, "--dry-run", "--json")
    assert checked(plan, "run --dry-run")["stages"] == 0
    found = checked(invoke("run", kept / "tiny.toml", "--results", done, "--json"), "run")
    assert len(found["done"]) == 3
    assert Path(found["report"]).is_file()
    shown = checked(invoke("show", found["done"][0], "--results", done, "--json"), "show")
    assert shown["stages"][-1]["status"] == "done"


def test_report_compare_overlap_and_data(invoke: Invoke, tmp_path: Path) -> None:
    written = invoke("report", REFERENCE, "--format", "csv", "--out", tmp_path / "r", "--json")
    assert [Path(path).name for path in checked(written, "report")["written"]] == ["report.csv"]
    rows = invoke("compare", "l0@0.02", "network-slimming@0.02", "--results", REFERENCE, "--json")
    assert "before" in checked(rows, "compare")["verdict"]
    folders = checked(invoke("compare", REFERENCE, REFERENCE, "--json"), "compare")
    assert {row["kind"] for row in folders["rows"]} == {"same"}
    assert checked(invoke("overlap", REFERENCE, "--json"), "overlap")["pairs"]
    assert checked(invoke("data", "digits", "--json"), "data")["splits"]["test"]["images"] == 500


def test_export_and_new_method(done: Path, invoke: Invoke, tmp_path: Path) -> None:
    run = "magnitude-0.1-seed0"
    ended = invoke("export", run, "--to", tmp_path / "small", "--results", done, "--json")
    assert checked(ended, "export")["written"] == [str(tmp_path / "small")]
    ended = invoke("new-method", "mine", "--folder", tmp_path, "--json")
    assert Path(checked(ended, "new-method")["written"][0]).is_file()


def test_tune(kept: Path, invoke: Invoke) -> None:
    path = kept / "tune.toml"
    path.write_text(TINY.replace('{ name = "dense" }', '{ name = "network-slimming" }'))
    ended = invoke("tune", path, "--trials", 1, "--results", kept / "results", "--json")
    found = checked(ended, "tune")
    assert found["done"] == ["network-slimming on vgg6"]
    assert Path(found["tuned"]).is_file()


def test_an_error_is_json_too(invoke: Invoke) -> None:
    ended = invoke("run", "quickstar", "--json")
    assert ended.code == checked(ended, "error")["exit_code"] == ExitCode.BAD_INPUT
    assert "did you mean 'quickstart'" in checked(ended, "error")["error"]
    assert "quickstart" in ended.err


def test_failed_runs_are_listed_with_exit_code_1(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "fails.toml"
    path.write_text(TINY.replace("lr = 0.05", 'lr = 99.0, optimizer = "adam"'))
    ended = invoke("run", path, "--json", "--only", "magnitude")
    found = checked(ended, "run")
    if found["failed"]:  # divergence is not certain on every processor
        assert ended.code == ExitCode.FAILED


def test_the_published_schemas_are_schemas(invoke: Invoke) -> None:
    for command in OUTPUTS:
        found = json.loads(invoke("schema", "--command", command).out)
        jsonschema.Draft202012Validator.check_schema(found)
        assert found["description"]
    wrong = invoke("schema", "--command", "lst")
    assert wrong.code == ExitCode.BAD_INPUT
    assert "did you mean 'list'" in wrong.err


def test_every_command_that_prints_a_result_has_json(invoke: Invoke) -> None:
    from ssbench.cli.app import app

    names = {each.name or each.callback.__name__ for each in app.registered_commands}
    texts = {"schema", "completion"}  # what they print is for programs already
    assert names - texts == {command.partition(" ")[0] for command in OUTPUTS} - {"error"}
    for name in sorted(names - texts):
        assert "--json" in invoke(name, "-h").out, name


def test_doctor_names_what_is_missing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(invoke("doctor", "--json"), "doctor")
    assert found["versions"]["torch"]
    assert "cpu" in found["devices"][0]
    assert {"timm", "onnx", "ray"} <= set(found["extras"])
    assert all(each["version"] for each in found["packages"])
    from ssbench.cli import dependencies

    real = dependencies.installed
    monkeypatch.setattr(
        dependencies, "installed", lambda name: None if name == "scipy" else real(name)
    )
    ended = invoke("doctor", "--json")
    assert ended.code == ExitCode.BAD_INPUT
    (problem,) = [each for each in checked(ended, "doctor")["problems"] if "scipy" in each]
    assert problem.startswith("scipy is missing: ")
    words = invoke("doctor")
    assert "missing: scipy is missing" in words.out


def test_a_missing_package_gives_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ssbench import __main__ as entry
    from ssbench.cli import app, dependencies

    def missing() -> None:
        raise ModuleNotFoundError("No module named 'torch_pruning'", name="torch_pruning")

    real = dependencies.installed
    monkeypatch.setattr(app, "main", missing)
    monkeypatch.setattr(
        dependencies, "installed", lambda name: None if name == "torch-pruning" else real(name)
    )
    with pytest.raises(SystemExit) as ended:
        entry.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "the package torch-pruning is missing; install it: " in said
    assert "Traceback" not in said

    def foreign() -> None:
        raise ModuleNotFoundError("No module named 'users_own'", name="users_own")

    monkeypatch.setattr(app, "main", foreign)
    with pytest.raises(ModuleNotFoundError):
        entry.main()


def test_a_package_that_is_missed_only_while_networks_are_tried_is_named(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    lazy_imports.flop_count_analysis.cache_clear()
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    monkeypatch.setattr(precheck, "_checked", {})
    ended = invoke("run", kept / "tiny.toml", "--results", tmp_path / "r")
    assert ended.code == 2
    assert "the package fvcore cannot be imported" in ended.err
    assert "pip install fvcore" in ended.err


def test_results_of_a_trial_never_mix_with_real_ones(
    done: Path, kept: Path, invoke: Invoke
) -> None:
    before = sorted((done / "tiny").glob("*.jsonl"))
    many = kept / "tiny.toml"
    changed = ("--set", "train.epochs=9", "--set", "seeds=[0, 1, 2]")
    ended = invoke("run", many, *changed, "--results", done, "--smoke", "--json")
    found = checked(ended, "run")
    assert found["experiment"] == "tiny-smoke"
    assert len(found["done"]) == 2  # dense, and magnitude at its first share
    assert sorted((done / "tiny").glob("*.jsonl")) == before
    record = json.loads(next((done / "tiny-smoke").glob("*.jsonl")).read_text().splitlines()[-1])
    assert record["epochs_total"] == 2
    assert "--smoke" in record["command"]
    shutil.rmtree(done / "tiny-smoke")


def test_only_some_methods_run_under_their_usual_ids(
    done: Path, kept: Path, invoke: Invoke
) -> None:
    every = {path.stem for path in (done / "tiny").glob("*.jsonl")}
    plan = ("run", kept / "tiny.toml", "--results", done, "--dry-run", "--json")
    found = checked(invoke(*plan, "--only", "magnitude"), "run --dry-run")["runs"]
    assert set(found) == {name for name in every if "magnitude" in name}
    by_label = checked(invoke(*plan, "--only", "magnitude (connection)"), "run --dry-run")["runs"]
    assert by_label == found
    wrong = invoke(*plan, "--only", "magnitud")
    assert wrong.code == ExitCode.BAD_INPUT
    assert "did you mean 'magnitude'" in wrong.err
