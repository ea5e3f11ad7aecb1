"""A mean is taken over runs that differ in nothing but the seed; the others have names apart."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ssbench.analysis.merge import merge
from ssbench.analysis.rows import Row, make_rows
from ssbench.report.formats import drilldown
from ssbench.report.page import make_merged_page
from ssbench.storage.records import read_runs
from tests.support.command_line import Invoke
from tests.support.records import Folder, folder

__all__ = ["folder"]


def rows(folder: Folder) -> dict[str, Row]:
    return {row.name: row for row in make_rows(read_runs(folder.path))[0]}


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ({"retrain": "finetune"}, {"retrain": "scratch-e"}, ("finetune", "scratch-e")),
        ({"precision": "fp32"}, {"precision": "bf16"}, ("fp32", "bf16")),
        ({"precision": None}, {"precision": "bf16"}, (None, "bf16")),
        ({"compile": False}, {"compile": True}, (None, "compiled")),
        ({"device": "cpu"}, {"device": "cuda"}, ("cpu", "cuda")),
        ({"devices": 1}, {"devices": 4}, ("cpu", "4 x cpu")),
        ({"devices": None}, {"devices": 2}, ("cpu", "2 x cpu")),
        ({"micro_batch": None}, {"micro_batch": 32}, (None, "micro-batch 32")),
        ({"tuning": None}, {"tuning": "yes"}, ("not tuned", "tuned")),
        ({"start": "random"}, {"start": "w.pth"}, ("from random", "from w.pth")),
        ({"scope": "global"}, {"scope": "layerwise"}, ("global", "layerwise")),
        ({"protection": 0.0}, {"protection": 0.1}, ("unprotected", None)),
        ({"protection": 0.1}, {"protection": 0.2}, ("protection=0.1", "protection=0.2")),
        ({"passes": 1}, {"passes": 3}, ("1 passes", "3 passes")),
        ({"retrain": "lr-rewind", "lr": 0.1}, {"retrain": "finetune"}, ("lr-rewind", "finetune")),
        ({"lr": 0.1}, {"lr": 0.2}, ("lr=0.1", "lr=0.2")),
        ({"epochs_total": 20}, {"epochs_total": 40, "epochs": 20}, ("20 epochs", "40 epochs")),
        ({"train_images": 1000}, {"train_images": 500}, ("1,000 images", "500 images")),
        ({"grain": "weight"}, {"grain": "filter"}, ("by weight", "by filter")),
        ({"params_dense": 1000}, {"params_dense": 1001}, ("no. 1", "no. 2")),
    ],
)
def test_no_mean_is_taken_over_different_runs(
    folder: Folder,
    first: dict[str, Any],
    second: dict[str, Any],
    names: tuple[str | None, str | None],
) -> None:
    tuning = {"trials": 1, "distinct": 1, "failed": 0, "seeds": [9], "kept": [0.5], "space": {},
              "space_id": "x", "chosen": {}}  # fmt: skip
    for seed, changes in ((0, first), (1, first), (2, second), (3, second)):
        changes = changes | ({"tuning": tuning} if changes.get("tuning") else {})
        folder.run(seed, 2.0 + seed, label="same", **changes)
    found = rows(folder)
    assert set(found) == {f"same, {name}" if name else "same" for name in names}
    assert [len(row.done) for row in found.values()] == [2, 2]
    assert [set(row.values("test_top1_error")) for row in found.values()] in (
        [{0, 1}, {2, 3}], [{2, 3}, {0, 1}],
    )  # fmt: skip


def test_a_retraining_as_long_as_its_pruning_allows_is_one_row(folder: Folder) -> None:
    for seed, epochs in enumerate((30, 34)):
        folder.run(seed, 2.0, retrain="scratch-b", epochs=epochs, epochs_total=20 + epochs)
    assert [len(row.done) for row in rows(folder).values()] == [2]


def test_only_the_runs_of_the_newest_code_count(folder: Folder) -> None:
    for seed in range(3):
        folder.run(seed, 9.0, row_id="old", time="2030-01-01T00:00:00+00:00")
    folder.run(0, 1.0, row_id="new", time="2030-01-02T00:00:00+00:00")
    found, older = make_rows(read_runs(folder.path))
    assert [(row.name, row.values("test_top1_error")) for row in found] == [("magnitude", {0: 1.0})]
    assert len(older) == 3
    assert "older ones do not count: run-000, run-001, run-002" in folder.page().warnings[0]


def test_a_run_that_failed_belongs_to_the_row_that_it_was_to_be_of(folder: Folder) -> None:
    for seed in range(2):
        folder.run(seed, 2.0, label="same", row_id="a", lr=0.1)
        folder.run(seed, 3.0, label="same", row_id="b", lr=0.2)
    folder.fail(2, "no luck", label="same", row_id="b", lr=0.2)
    found = rows(folder)
    assert {name: len(row.failed) for name, row in found.items()} == {
        "same, lr=0.1": 0,
        "same, lr=0.2": 1,
    }


def test_folders_of_other_recipes_are_not_averaged(tmp_path: Path) -> None:
    folders = []
    for number, (name, decay) in enumerate((("one", 1e-4), ("two", 5e-4), ("three", 5e-4))):
        (tmp_path / name).mkdir()
        folders.append(tmp_path / name)
        Folder(tmp_path / name).run(number, 2.0 + number, label="m", experiment=name)
        manifest = {"name": name, "train": {"lr": 0.1, "weight_decay": decay, "compile": False}}
        if name == "three":
            del manifest["train"]["compile"]  # type: ignore[attr-defined]
        (tmp_path / name / "experiment.json").write_text(json.dumps(manifest))
    page = make_merged_page(merge(folders))
    assert {row.name: set(row.values("test_top1_error")) for row in page.rows} == {
        "m, one": {0},
        "m, two": {1, 2},
    }


METHOD = """
from dataclasses import dataclass

from ssbench.method import Method, Scores, prunable_weights


@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    \"\"\"Keeps large weights.\"\"\"

    grain = "weight"
    power: float = 1.0

    def scores(self, model):
        weights = prunable_weights(model)
        return {name: w.detach().abs() ** self.power for name, w in weights.items()}
"""


def measured(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of each run, without what no two runs have in common."""
    loose = ("seconds_train", "seconds_penalty", "seconds_prune", "images_per_second", "time",
             "peak_memory_bytes", "energy_joules", "command", "commit", "sha256")  # fmt: skip
    return {
        path.stem: [
            {key: value for key, value in json.loads(line).items() if key not in loose}
            for line in path.read_text().splitlines()
        ]
        for path in folder.glob("*.jsonl")
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_command_of_the_drill_down_makes_the_run_again(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    given = (tiny, "--set", "budget.kept=[0.2]", "--set", 'methods=[{name="mine",power=[1.0,2.0]}]',
             "--set", "seeds=[3, 4]", "--method-file", tmp_path / "mine.py")  # fmt: skip
    assert invoke("run", *given, "--results", tmp_path / "one", "--quiet").code == 0
    runs = read_runs(tmp_path / "one" / "tiny")
    rows, _ = make_rows(runs)
    ids = {row.name: {run.final.row_id for run in row.done} for row in rows}
    assert [len(found) for found in ids.values()] == [1, 1], "one for all seeds"
    assert len(set.union(*ids.values())) == 2, "and another one for other settings"
    run = next(run for run in runs if run.final.seed == 4)
    first, _ = drilldown.commands(run)
    assert shlex.split(first)[:3] == ["OMP_NUM_THREADS=1", "ssbench", "run"]
    arguments = shlex.split(first)[3:]
    assert "seeds=[3, 4]" not in arguments
    assert invoke("run", *arguments, "--results", tmp_path / "two", "--quiet").code == 0
    one, two = (measured(tmp_path / name / "tiny") for name in ("one", "two"))
    assert {name.rpartition("seed")[2][0] for name in two} == {"4"}
    assert two == {name: one[name] for name in two}
    assert len(two) == 2
