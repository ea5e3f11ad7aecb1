"""A part of an experiment: chosen methods keep their ids, and a trial is small and apart."""

from pathlib import Path
from typing import Any

import pytest

from ssbench.errors import BadInputError
from ssbench.experiment.choose import SUFFIX, only, smoke
from ssbench.experiment.plan import plan, plan_variants
from ssbench.experiment.spec import load, shipped
from ssbench.experiment.variants import variants
from ssbench.method.registry import discover
from tests.support.command_line import TINY

REGISTRY = discover()


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_a_trial_has_one_seed_one_epoch_and_one_budget(path: Path) -> None:
    experiment = load(path)
    trial = smoke(experiment)
    runs = plan(trial, REGISTRY, "data", path.name)
    assert trial.name == f"{experiment.name}{SUFFIX}"
    assert {run.stage.seed for run in runs} == {experiment.seeds[0]}
    assert {stage.epochs for run in runs for stage in run.stages} <= {0, 1, 2, 4}
    shares = {(run.label, run.budget.unit, run.budget.kept) for run in runs if run.budget}
    labels = {(run.label, run.budget.unit) for run in runs if run.budget}
    assert len(shares) == len(labels)
    every = plan(experiment, REGISTRY, "data", path.name)
    assert {run.label for run in runs} == {run.label for run in every}
    assert {run.stage.id for run in runs}.isdisjoint(run.stage.id for run in every)


def test_chosen_methods_keep_labels_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace('grain = "connection"', 'grain = ["connection", "weight"]'))
    experiment = load(path)
    every = variants(experiment, REGISTRY, "tiny.toml")
    where: tuple[Any, ...] = ("data", "tiny.toml", (), None)
    ids = {run.id: run.label for run in plan_variants(experiment, every, *where)}
    chosen = only(every, ["magnitude (weight)"], "tiny.toml")
    some = {run.id: run.label for run in plan_variants(experiment, chosen, *where)}
    assert some == {name: label for name, label in ids.items() if label == "magnitude (weight)"}
    assert len(only(every, ["magnitude", "dense"], "tiny.toml")) == len(every)
    assert only(every, [], "tiny.toml") == every
    with pytest.raises(BadInputError, match=r"--only magnitud: .*did you mean 'magnitude'"):
        only(every, ["magnitud"], "tiny.toml")
