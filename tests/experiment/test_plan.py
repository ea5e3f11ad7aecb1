"""Runs and stages: what is shared, and what changes a stage's id."""

import json
from pathlib import Path

import pytest

from ssbench.data.preprocessing import STANDARD
from ssbench.data.registry import dataset_name
from ssbench.errors import BadInputError
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import load, shipped
from ssbench.experiment.stage import Run, Stage
from ssbench.method.registry import discover
from ssbench.paths import bench_folder
from ssbench.pipeline.record import records
from tests.support.command_line import TINY

REGISTRY = discover()


def runs(path: Path, *overrides: str, fingerprint: str = "data") -> list[Run]:
    return plan(load(path, overrides), REGISTRY, fingerprint, path.name)


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_every_shipped_experiment_makes_a_plan(path: Path) -> None:
    assert runs(path)


def test_quickstart_shares_what_can_be_shared() -> None:
    made = runs(bench_folder() / "quickstart.toml")
    every = stages(made)
    kinds = [stage.kind for stage in every]
    # Three seeds of: a plain training and those of slimming, L0, the lasso and synaptic strength;
    # at four budgets eight variants with one threshold, each with and without a floor, and one
    # that prunes layer by layer; the dense network.
    assert len(made) == 3 * (1 + (2 * 8 + 1) * 4) == 207
    assert kinds.count("train") == 3 * 5
    assert kinds.count("prune") == 3 * 17 * 4
    assert kinds.count("finetune") == 207
    assert {run.stage.epochs_total for run in made} == {30}
    labels = {run.label for run in made}
    assert labels == {
        "dense", "random (connection)", "magnitude (connection)",
        "magnitude (weight, by connections)", "magnitude (weight, by params)", "network-slimming",
        "l0", "synaptic-strength", "connection-lasso", "magnitude (filter)",
    }  # fmt: skip


def test_plain_names_are_the_tables_that_they_stand_for(tmp_path: Path) -> None:
    table = 'methods = [{ name = "dense" }, { name = "magnitude" }]'
    start = TINY[: TINY.index("methods =")]
    plain, tables = tmp_path / "a.toml", tmp_path / "b.toml"
    plain.write_text(start + 'methods = ["dense", "magnitude"]')
    tables.write_text(start + table)
    assert [run.id for run in runs(plain)] == [run.id for run in runs(tables)]
    override = "methods.magnitude.grain=filter"
    assert [r.id for r in runs(plain, override)] == [r.id for r in runs(tables, override)]
    mixed = tmp_path / "c.toml"
    mixed.write_text(start + 'methods = ["dense", { name = "magnitude" }]')
    assert [run.id for run in runs(mixed)] == [run.id for run in runs(tables)]


CHANGES = [
    ("train.epochs=2", {"train", "prune", "finetune"}),
    ("train.shift=1", {"train", "prune", "finetune"}),
    ("finetune.lr=0.5", {"finetune"}),
    ("budget.kept=[0.4]", {"prune", "finetune"}),
    ("budget.scope=layerwise", {"prune", "finetune"}),
    ("seeds=[4]", {"train", "prune", "finetune"}),
    ("methods.magnitude.grain=weight", {"prune", "finetune"}),
    ("train.momentum=0.9", set()),  # the default
    ("budget.protection=0.0", set()),
    ("name=other", set()),
]


@pytest.mark.parametrize(("override", "changed"), CHANGES)
def test_an_id_changes_with_all_that_can_change_the_result(
    override: str, changed: set[str], tiny: Path
) -> None:
    tiny.write_text(TINY.replace("kept = [0.5, 0.1]", "kept = [0.5]"))
    before = runs(tiny)[-1].stages
    after = runs(tiny, override)[-1].stages
    assert {a.kind for a, b in zip(before, after, strict=True) if a.id != b.id} == changed


def test_ids_follow_the_data_and_the_methods_file(tiny: Path, tmp_path: Path) -> None:
    assert runs(tiny)[0].stage.id != runs(tiny, fingerprint="other")[0].stage.id
    path = tmp_path / "mine.py"
    source = REGISTRY.methods["magnitude"].path.read_text()
    tiny.write_text(TINY.replace('"magnitude"', '"mine"'))
    ids = []
    for text in (source, source + "\n# changed\n"):
        path.write_text(text)
        made = plan(load(tiny), discover([path]), "data", "tiny.toml")
        ids.append([stage.id for stage in made[-1].stages])
    assert ids[0][0] == ids[1][0]  # the plain training does not depend on a criterion
    assert ids[0][1] != ids[1][1]


def test_a_method_that_changes_training_has_a_training_of_its_own(tiny: Path) -> None:
    tiny.write_text(TINY.replace('"magnitude", grain = "connection"', '"synaptic-strength"'))
    made = stages(runs(tiny))
    assert [stage.kind for stage in made].count("train") == 2


def test_all_methods_can_be_asked_for(tiny: Path) -> None:
    start = TINY[: TINY.index("methods =")]
    tiny.write_text(start + 'methods = "all"')
    assert {run.file.name for run in runs(tiny)} == set(REGISTRY.methods)


def test_all_that_an_id_is_made_of_is_recorded(tmp_path: Path) -> None:
    """Two stages that differ in their id differ in their records, in a key that says why."""
    path = tmp_path / "all.toml"
    path.write_text(EVERYTHING)
    for run in runs(path, fingerprint="data"):
        above = "data"
        for stage, record in zip(run.stages, records(run, [{} for _ in run.stages]), strict=True):
            said = json.loads(stage.said)
            how = record["recipe"] or {
                "kept": record["budget_of_stage"],
                **{key: record[key] for key in ("scope", "protection", "passes")},
                "schedule": record["schedule"] or [],
                "unit": record["budget_unit"],
            }
            method = {"name": record["method"], "file": record["method_file"]}
            held = {
                "protocol": record["protocol"],
                "kind": record["stage"],
                "dataset": record["dataset"],
                "model": record["model"],
                "retrain": record["retrain"],
                "snapshot": record["snapshot"],
                "scratch_limit": record["scratch_limit"],
                "start": record["start"],
            }
            assert {key: value for key, value in said.items() if key in held} == {
                key: held[key] for key in said if key in held
            }
            assert said["how"].items() <= how.items()
            assert said["method"] is None or said["method"].items() >= method.items()
            assert set(said) <= {*held, "how", "method", "seed", "parent", "budget"}
            assert record["data_fingerprint"] == "data"
            assert record["stage_id"] != above
            above = record["stage_id"]


EVERYTHING = """
dataset = "digits"
models = ["vgg6"]
seeds = [3]
scratch_limit = 3.0
budget = { kept = [0.5], unit = "params", scope = "layerwise", protection = 0.1 }
train = { epochs = 4, lr = 0.05, optimizer = "adam", shift = 1, flip = true }
finetune = { epochs = 3, lr = 0.02, momentum = 0.5, nesterov = false, schedule = "cosine" }

[[methods]]
name = "magnitude"
norm = "l2"
retrain = ["finetune", "lr-rewind", "weight-rewind", "scratch-e", "scratch-b"]

[[methods]]
name = "network-slimming"
budget = { passes = 3 }

[[methods]]
name = "gradual-magnitude"

[[methods]]
name = "snip"

[[methods]]
name = "dense"
"""


def test_photographs_are_cropped_and_not_shifted_by_pixels(tiny: Path) -> None:
    folder = ["dataset=imagefolder:/x", 'models=["resnet50"]']
    assert runs(tiny, *folder, "train.shift=0")
    with pytest.raises(BadInputError, match=r"finetune\.shift: photographs .* write 1 or 0"):
        runs(tiny, *folder, "finetune.shift=4")


def test_the_preprocessing_of_published_weights_is_part_of_the_id(tiny: Path) -> None:
    def first(model: str, *more: str) -> Stage:
        return runs(tiny, f'models=["{model}"]', *more)[0].stages[0]

    photographs = ("start=published", "dataset=imagefolder:/x")
    stage = first("torchvision:inception_v3", *photographs)
    assert stage.preprocessing.crop == 299
    assert json.loads(stage.said)["preprocessing"]["resize"] == [342]
    # What was preprocessed so before keeps its id.
    assert "preprocessing" not in json.loads(first("resnet50", *photographs).said)
    small = first("torchvision:inception_v3", "start=published", "dataset=cifar10")
    assert "preprocessing" not in json.loads(small.said)
    assert first("torchvision:inception_v3", photographs[1]).preprocessing == STANDARD


def test_one_network_has_one_name_where_it_begins_with_the_same_weights(tiny: Path) -> None:
    start = "start=published"
    two = 'models=["timm:resnet18.tv_in1k","timm:resnet18.a1_in1k"]'
    assert len({run.stages[0].start for run in runs(tiny, two, start)}) == 2
    for names in ('["timm:resnet18","timm:resnet18.a1_in1k"]', '["resnet50","resnet50"]'):
        with pytest.raises(BadInputError, match=r"models\.1: .* is the network of models\.0"):
            runs(tiny, f"models={names}", start)


def test_a_folder_has_a_name_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cats").mkdir()
    monkeypatch.chdir(tmp_path / "cats")
    names = [f"imagefolder:{path}" for path in (".", tmp_path / "cats", "../cats/", "x/..")]
    assert {dataset_name(name) for name in names} == {"imagefolder:cats"}
