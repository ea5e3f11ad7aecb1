"""Runs and stages: what is shared, and what changes a stage's id."""

from pathlib import Path

import pytest

from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import load, shipped
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover
from ssbench.paths import bench_folder
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
