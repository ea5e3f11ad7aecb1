"""Plan of a run: the tree of its stages, what is done, and the cost of the rest."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.tree import Tree

from ssbench.executors.progress import duration, share
from ssbench.experiment.plan import stages
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.workbench import Network, Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.precision import forward, products
from ssbench.training.recipe import Recipe

TRIAL_SECONDS = 0.5
Kind = tuple[str, int, str]
"""A network, a batch size and a number format."""


@dataclass(frozen=True)
class Estimate:
    """The cost of the missing stages.

    Attributes:
        macs: forward and backward multiply-adds; a backward pass counts as two forward passes.
        seconds: at the measured speed of a plain training step on this device; gates, evaluation,
            counting and surgery come on top.
    """

    stages: int
    epochs: int
    images: int
    macs: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"to do: {self.stages} stages, {self.epochs:,} epochs, {self.images:,} images, "
            f"{self.macs:.3g} forward-backward MACs, about {duration(self.seconds)} of training "
            "on this device"
        )


def estimate(runs: Sequence[Run], workbench: Workbench, store: CheckpointStore) -> Estimate:
    """Estimate the cost of the missing stages."""
    missing = [stage for stage in stages(list(runs)) if not store.has(stage.id)]
    images, macs, seconds = 0, 0, 0.0
    speeds: dict[Kind, float] = {}
    for stage in missing:
        if not stage.recipe:
            continue
        its = workbench.fitted(stage.preprocessing)
        seen = stage.epochs * len(its.train)
        kind = kind_of(stage.model, stage.recipe)
        if kind not in speeds:
            speeds[kind] = train_briefly(its, stage.architecture, stage.recipe)
        images += seen
        macs += 3 * its.dense(stage.architecture).macs * seen
        seconds += seen / speeds[kind]
    return Estimate(len(missing), sum(stage.epochs for stage in missing), images, macs, seconds)


def kind_of(model_name: str, recipe: Recipe) -> Kind:
    """Return what the time and the memory of a training step depend on."""
    return model_name, recipe.batch_size, recipe.precision


def kinds(runs: Sequence[Run]) -> dict[Kind, tuple[Recipe, Stage]]:
    """Return all kinds of trainings of these runs, each with one recipe and one stage."""
    trained = [(s, s.recipe) for run in runs for s in run.stages if s.recipe]
    return {kind_of(s.model, recipe): (recipe, s) for s, recipe in trained}


def train_briefly(
    workbench: Workbench, network: Network, recipe: Recipe, seconds: float = TRIAL_SECONDS
) -> float:
    """Time training steps on random images after one warm-up step, without compilation.

    Returns:
        Images per second; infinite if ``seconds`` is 0, which does only the first step.
    """
    size = min(recipe.batch_size, len(workbench.train))  # no batch of the training is larger
    recipe = recipe.model_copy(update={"batch_size": size})
    with products(recipe.precision):
        return _steps_per_second(workbench, network, recipe, seconds) * recipe.batch_size


def _steps_per_second(
    workbench: Workbench, network: Network, recipe: Recipe, seconds: float
) -> float:
    batch_size = recipe.batch_size
    model = workbench.place(workbench.model(network, 0)).train()
    call = forward(model, workbench.device, recipe.precision)
    images = torch.randn(batch_size, *workbench.example.shape[1:], device=workbench.device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=workbench.device)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> float:
        optimiser.zero_grad()
        loss = F.cross_entropy(call(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss.detach())  # waits for the device

    step()
    if not seconds:
        return math.inf
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - began)


def tree(runs: Sequence[Run], store: CheckpointStore) -> Tree:
    """Draw the stages, shared ones once, and mark the finished ones."""
    root = Tree(f"{runs[0].experiment}: {len(runs)} runs")
    nodes: dict[str, Tree] = {}
    for run in runs:
        parent = root
        for stage in run.stages:
            if stage.id not in nodes:
                nodes[stage.id] = parent.add(_line(run, stage, done=store.has(stage.id)))
            parent = nodes[stage.id]
    return root


def _line(run: Run, stage: Stage, *, done: bool) -> str:
    mark = "[green]done[/]" if done else "[yellow]to do[/]"
    what = f"{stage.dataset} {stage.model} seed {stage.seed}" if not stage.parent else ""
    if stage.kind == "train" and not stage.parent:
        what += f", {run.label}" if stage.method else ", plain"
    elif stage.kind == "finetune":
        what = stage.retrain if stage.retrain != "finetune" else what
    if stage.budget:
        kept = f"{share(stage.budget.kept)} of {stage.budget.unit}"
        floor = stage.budget.protection
        kept += f", floor {100 * floor:g} %" if floor else ""
        what = ", ".join(part for part in (what, "" if what else run.label, kept) if part)
    plural = "" if stage.epochs == 1 else "s"
    epochs = f"{stage.epochs} epoch{plural}" if stage.epochs else ""
    parts = [part for part in (what, epochs) if part]
    return f"{stage.kind} {', '.join(parts)} \\[{stage.id[:8]}] {mark}"
