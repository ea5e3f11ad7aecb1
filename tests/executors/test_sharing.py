"""Epochs trained against the naive plan and the least possible, as run and as reported."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ssbench.analysis.facts import sharing
from ssbench.data.digits import digits
from ssbench.executors.coordinator import execute
from ssbench.executors.progress import Quiet
from ssbench.executors.protocol import Job
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import load
from ssbench.experiment.stage import Run, Stage
from ssbench.method.registry import discover
from ssbench.pipeline.workbench import Workbench
from ssbench.report.page import make_page
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.records import read_runs
from ssbench.storage.results import Results
from ssbench.training.device import resolve
from ssbench.training.loop import Epoch
from tests.support.command_line import TINY

METHODS = """
methods = [
    { name = "dense" },
    { name = "magnitude", grain = "connection", retrain = ["finetune", "lr-rewind"] },
    { name = "random", grain = "connection" },
    { name = "network-slimming", budget = { unit = "params" } },
]
"""


class Counting(Quiet):
    """Counts epochs by stage, and evaluations by what follows them."""

    def __init__(self, runs: list[Run]) -> None:
        super().__init__(runs, None)
        self.epochs: Counter[str] = Counter()

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        super().epoch(stage, epoch)
        self.epochs[stage.id] += 1


def test_epochs_trained_are_the_least_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY[: TINY.index("methods")] + METHODS)
    experiment = load(path)
    workbench = Workbench(digits(), resolve("cpu"))
    runs = plan(experiment, discover(), workbench.dataset.fingerprint, "tiny.toml")
    measured: list[object] = []
    measure = Workbench.measure

    def counted_measure(self: Workbench, model: nn.Module) -> dict[str, Any]:
        measured.append(1)
        return measure(self, model)

    monkeypatch.setattr(Workbench, "measure", counted_measure)
    store, results = CheckpointStore(tmp_path), Results(tmp_path, experiment.manifest)
    store.prepare()
    results.folder.mkdir()
    counting = Counting(runs)
    outcome = execute(runs, Job(workbench, store), results, counting)
    assert not outcome.failed
    least = {stage.id: stage.epochs for stage in stages(runs) if stage.recipe}
    assert dict(counting.epochs) == least
    assert len(measured) == len(stages(runs))  # each is evaluated once, whoever shares it
    naive = sum(stage.epochs for run in runs for stage in run.stages)
    assert sum(least.values()) < naive

    found = read_runs(results.folder)
    counted = sharing(found)
    assert (counted.epochs, counted.naive_epochs) == (sum(least.values()), naive)
    assert 0 < counted.seconds < counted.naive_seconds
    facts = dict(make_page(found).facts)
    expected = f"{counted.epochs} epochs trained instead of {naive}; "
    assert facts["Shared stages"].startswith(expected)
