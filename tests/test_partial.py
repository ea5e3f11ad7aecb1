"""A training that is stopped between epochs goes on bit by bit as if it had never been."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ssbench.data import Split
from ssbench.data.digits import digits
from ssbench.executors import execute
from ssbench.experiment import Experiment
from ssbench.plan import plan
from ssbench.progress import Quiet
from ssbench.registry import discover
from ssbench.stage import Run, Stage
from ssbench.stopping import STOP, Stopped
from ssbench.storage import Results, Store
from ssbench.training import Epoch
from ssbench.workbench import Bench
from tests.test_resume import TIMES

CASES: dict[str, dict[str, Any]] = {
    "plain": {"name": "dense"},
    "parametrized": {"name": "synaptic-strength", "lambda": 1e-3},
    "gates": {"name": "l0", "budget": {"unit": "params"}},
    "masks in training": {"name": "gradual-magnitude"},
    "slimming": {"name": "network-slimming"},
    "rewound": {"name": "synaptic-strength", "retrain": "weight-rewind"},
    "from scratch": {"name": "magnitude", "retrain": "scratch-b"},
    "two passes": {"name": "gradual-magnitude", "budget": {"passes": 2}},
}


class Watch(Quiet):
    """Does something after epochs, and remembers warnings."""

    def __init__(self, runs: list[Run], act: Callable[[Stage, Epoch], None]) -> None:
        super().__init__(runs, Console(quiet=True))
        self.act = act
        self.warnings: list[str] = []

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        super().epoch(stage, epoch)
        self.act(stage, epoch)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Trial:
    """An experiment on a few images, carried out in this process."""

    def __init__(self, folder: Path, method: dict[str, Any], **recipe: Any) -> None:
        data = digits()
        train = Split(data.train.images[:130], data.train.labels[:130])
        self.bench = Bench(replace(data, train=train), torch.device("cpu"))
        common = {"lr": 0.02, "schedule": "one-cycle", "shift": 1, "batch_size": 64} | recipe
        experiment = Experiment.model_validate(
            {
                "name": "x",
                "dataset": "digits",
                "models": ["vgg6"],
                "seeds": [0],
                "budget": {"kept": [0.4]},
                "train": {"epochs": 4, **common},
                "finetune": {"epochs": 3, **common},
                "methods": [method],
            }
        )
        self.runs = plan(experiment, discover(), "data", "x.toml")
        self.store, self.partial = Store(folder / "cache"), Store(folder / "cache", "partial")
        self.results = Results(folder, experiment.manifest)
        self.results.folder.mkdir(parents=True)
        self.store.prepare()

    def go(self, act: Callable[[Stage, Epoch], None], every: float = 1e9) -> Watch:
        watch = Watch(self.runs, act)
        with STOP.signals():
            execute(self.runs, self.bench, self.store, self.results, watch, every)
        return watch

    def last(self) -> dict[str, Any]:
        found = self.results.last(self.runs[0].id)
        assert found
        return found

    def found(self) -> list[Any]:
        """Weights and records of all stages, without times."""
        stages = [stage.id for run in self.runs for stage in run.stages]
        records = [self.store.record(stage) for stage in stages]
        return [
            [{k: v for k, v in record.items() if k not in TIMES} for record in records],
            [(self.store.folder / stage / "model.safetensors").read_bytes() for stage in stages],
        ]

    def partials(self) -> list[str]:
        return (
            [p.name for p in self.partial.folder.glob("*")] if self.partial.folder.exists() else []
        )


def ask(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def quietly(*_: object) -> None:
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("case", CASES)
def test_stopped_after_every_epoch_the_result_is_the_same_in_every_bit(
    case: str, optimizer: str, tmp_path: Path
) -> None:
    if optimizer == "adam" and case not in ("parametrized", "gates"):
        pytest.skip("the optimiser's state does not depend on these")
    whole = Trial(tmp_path / "whole", CASES[case], optimizer=optimizer)
    broken = Trial(tmp_path / "broken", CASES[case], optimizer=optimizer)
    whole.go(quietly)
    stops, epochs = 0, []
    while True:
        try:
            broken.go(lambda stage, epoch: (epochs.append((stage.id, epoch.number)), ask()))
        except Stopped as stopped:
            stops += 1
            assert stopped.signal == signal.SIGINT
            assert "epoch" in str(stopped)
            assert len(broken.partials()) == 1
        else:
            break
    assert len(epochs) == len(set(epochs)) == stops  # none was done twice
    assert broken.found() == whole.found()
    assert broken.partials() == []
    trained = [
        r for r in (broken.store.record(s.id) for s in broken.runs[0].stages) if "resumed" in r
    ]
    assert [record["resumed"] for record in trained] == [len(r["curve_loss"]) for r in trained]
    assert all(
        r["resumed"] == 0
        for r in (whole.store.record(s.id) for s in whole.runs[0].stages)
        if "resumed" in r
    )
