"""Trainings that are stopped or killed at chosen points."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ssbench.data.dataset import Split
from ssbench.data.digits import digits
from ssbench.executors.coordinator import Coordinator, execute
from ssbench.executors.local import LocalExecutor
from ssbench.executors.progress import Quiet
from ssbench.executors.protocol import Job, Where
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run, Stage
from ssbench.method.registry import discover
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch
from tests.support.processes import TIMES

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

    def __init__(
        self,
        folder: Path,
        method: dict[str, Any],
        epochs: tuple[int, int] = (4, 3),
        files: Sequence[Path] = (),
        **recipe: Any,
    ) -> None:
        data = digits()
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        few = {name: Split(part.images[:130], part.labels[:130]) for name, part in parts.items()}
        self.workbench = Workbench(replace(data, **few), torch.device("cpu"))
        common = {"lr": 0.02, "schedule": "one-cycle", "shift": 1, "batch_size": 64} | recipe
        experiment = Experiment.model_validate(
            {
                "name": "x",
                "dataset": "digits",
                "models": ["vgg6"],
                "seeds": [0],
                "budget": {"kept": [0.4]},
                "train": {"epochs": epochs[0], **common},
                "finetune": {"epochs": epochs[1], **common},
                "methods": [method],
            }
        )
        self.experiment, self.foreign = experiment, bool(files)
        self.runs = plan(experiment, discover(files), "data", "x.toml")
        self.store, self.partial = (
            CheckpointStore(folder / "cache"),
            CheckpointStore(folder / "cache", "partial"),
        )
        self.results = Results(folder, experiment.manifest)
        self.results.folder.mkdir(parents=True)
        self.store.prepare()

    def go(self, act: Callable[[Stage, Epoch], None], every: float = 1e9) -> Watch:
        watch = Watch(self.runs, act)
        with STOP.signals():
            job = Job(self.workbench, self.store, Where(save_every=every))
            if self.foreign:  # which would have a process of its own, with all images
                coordinator = Coordinator(self.runs, self.store, self.results, watch)
                coordinator.drive(LocalExecutor(job, self.runs, coordinator.take))
            else:
                execute(self.runs, job, self.results, watch)
        return watch

    def last(self) -> dict[str, Any]:
        found = self.results.last(self.runs[0].id)
        assert found
        return found

    def measured(self) -> list[dict[str, Any]]:
        """What the stages measured, in order."""
        return [self.store.record(stage.id) for run in self.runs for stage in run.stages]

    def found(self) -> list[Any]:
        """Weights and measurements of all stages, without times."""
        folders = [Path(self.store.place) / stage.id for run in self.runs for stage in run.stages]
        return [
            [{k: v for k, v in record.items() if k not in TIMES} for record in self.measured()],
            [(folder / "model.safetensors").read_bytes() for folder in folders],
        ]

    def partials(self) -> list[str]:
        return (
            [p.name for p in Path(self.partial.place).glob("*")]
            if Path(self.partial.place).exists()
            else []
        )


def ask(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def quietly(*_: object) -> None:
    pass


class Killed(BaseException):
    """Nothing deals with it, as with a signal that nobody can handle."""


def killed_at(trial: Trial, number: int, every: float) -> None:
    def act(_: Stage, epoch: Epoch) -> None:
        if epoch.number == number:
            raise Killed

    with pytest.raises(Killed):
        trial.go(act, every)
