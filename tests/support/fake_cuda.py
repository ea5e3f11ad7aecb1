"""Small data and plans for tests on the pretended GPU."""

from __future__ import annotations

from typing import Any

import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover

REGISTRY = discover()


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def images(count: int) -> Split:
    generator = torch.Generator().manual_seed(count)
    drawn = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(drawn, torch.arange(count) % 4)


def dataset() -> DataSet:
    return DataSet("noise", 4, images(34), images(8), images(8))


def runs(**changed: Any) -> list[Run]:
    recipe = {"epochs": 1, "batch_size": 16, "lr": 0.05, "shift": 1, "flip": True}
    settings = {
        "name": "pretended",
        "dataset": "noise",
        "models": ["vgg6"],
        "budget": {"kept": 0.4, "unit": "params", "protection": 0.0},
        "seeds": [0],
        "train": recipe,
        "finetune": recipe,
        **changed,
    }
    return plan(Experiment.model_validate(settings), REGISTRY, "noise", "pretended.toml")
