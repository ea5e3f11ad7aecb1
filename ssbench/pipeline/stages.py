"""Run one stage: train, prune or finetune; knows no method by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.experiment.retraining import SCRATCH, scratch_b
from ssbench.experiment.stage import Stage
from ssbench.method.contract import offer, wants
from ssbench.models.state_dict import restore
from ssbench.pipeline.hooks import call, defines, watched_penalty, watched_step, watched_training
from ssbench.pipeline.prune import Pruning, attached, prune
from ssbench.pipeline.state import State, Tensors
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.counting import nonzero
from ssbench.pruning.equivalence import compact_certified
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.masking import keep_masked
from ssbench.pruning.sizes import byte_sizes, operations, sizes
from ssbench.seeds import derive
from ssbench.training.checkpoint import UNSAVED, Checkpointer, ExtraState
from ssbench.training.device import clear, peak_memory
from ssbench.training.energy import metered
from ssbench.training.loop import Epoch, Hooks, Listener, train
from ssbench.training.precision import products
from ssbench.training.recipe import Recipe
from ssbench.training.repeatable import deterministic

Record = dict[str, Any]


def carry_out(
    stage: Stage,
    workbench: Workbench,
    before: Mapping[str, Tensor],
    listen: Listener,
    saver: Checkpointer = UNSAVED,
) -> tuple[Tensors, Record]:
    """Run one stage.

    Args:
        stage: the stage.
        workbench: the data and the device.
        before: the tensors that the parent stage returned; none for a first stage.
        listen: receives every finished epoch.
        saver: saves a training between its epochs, and returns what it saved.

    Returns:
        The tensors that the next stage needs, and the measurements; both empty if this process
        only helps another one to train.

    Raises:
        RunFailedError: the stage cannot be finished; a method's own errors pass through.
    """
    clear(workbench.device)
    workbench = workbench.fitted(stage.preprocessing)
    jointly = workbench.spread.share.of
    # Matrix products in single precision, unless a training asks for less.
    device = workbench.device
    with metered(device, jointly) as meter, products("fp32"), deterministic(device):
        if stage.kind == "prune":
            tensors, record = prune(stage, workbench, before)
        else:
            did = {"train": _train, "finetune": _finetune}[stage.kind]
            tensors, record = did(stage, workbench, State.of(before), listen, saver)
    costs = {"peak_memory_bytes": peak_memory(workbench.device), "energy_joules": meter.joules}
    return tensors, record | costs | {"devices": jointly if stage.recipe else 1}


def _train(
    stage: Stage, workbench: Workbench, came: State, listen: Listener, saver: Checkpointer
) -> tuple[Tensors, Record]:
    rewound = stage.retrain == "weight-rewind"
    model = attached(stage, workbench, came.early if rewound else came.weights)
    zeros = _on(workbench, came.zeros)
    hooks, zeros_now = hooks_of(stage, workbench, model, zeros)
    with watched_training(stage.method, workbench) if stage.method else nullcontext():
        hooks.after_step(0.0)  # what a method attaches may have changed pruned weights
        snapshot = _Snapshot(model, stage.snapshot, listen)
        hooks = replace(hooks, parts={**hooks.parts, "early": snapshot.part}, saver=saver)
        trained = _run(stage, workbench, model, hooks, snapshot, _recipe(stage))
    if workbench.spread.helps:
        return {}, {}
    counted = workbench.dense(stage.architecture)
    dense = sizes("dense", counted) | operations("dense", counted)
    left = State(dict(model.state_dict()), zeros_now(), snapshot.early or came.early)
    return left.pack(), workbench.measure(model) | trained | dense


def hooks_of(
    stage: Stage, workbench: Workbench, model: nn.Module, zeros: Tensors
) -> tuple[Hooks, Callable[[], Tensors]]:
    """Return a method's hooks for a training, and a function for the current zeros."""
    method = stage.method
    if method is None:
        return Hooks(after_step=keep_masked(model, zeros)), lambda: zeros
    parts: dict[str, ExtraState] = {}
    # Masks of a training that prunes, and what others keep, live in Python: no recording renews it.
    records = not stage.foreign_module or not defines(method, "after_step")
    if wants(method.after_step, "pruning"):
        pruning = Pruning(stage, workbench, model, zeros)

        def prune_step(progress: float) -> None:
            offer(method.after_step, model, progress=progress, pruning=pruning)
            pruning.keep(progress)

        after_step, zeros_now = watched_step(method, prune_step), lambda: pruning.zeros
        records, parts = (
            False,
            {"zeros": ExtraState(zeros_now, lambda saved: pruning.hold(_on(workbench, saved)))},
        )
    else:
        keep = keep_masked(model, zeros)

        def plain_step(progress: float) -> None:
            method.after_step(model, progress)
            keep(progress)

        after_step, zeros_now = watched_step(method, plain_step), lambda: zeros
    groups = call(method, "parameter_groups", model, workbench)
    facts = {"images": len(workbench.train), "weight_decay": _recipe(stage).weight_decay}
    penalty = watched_penalty(method, model, **facts)
    return Hooks(groups, penalty, after_step, records, parts), zeros_now


class _Snapshot:
    """Passes on finished epochs, and copies the weights at one of them; 0: before the first."""

    def __init__(self, model: nn.Module, epoch: int | None, listen: Listener) -> None:
        self._model, self._epoch, self._listen = model, epoch, listen
        self.early: Tensors = {}
        self._look(0)

    @property
    def part(self) -> ExtraState:
        """The copy, if it exists yet, as state to save with the training."""
        return ExtraState(lambda: self.early, self._take)

    def _take(self, saved: Tensors) -> None:
        self.early = saved

    def __call__(self, epoch: Epoch) -> None:
        self._look(epoch.number)
        self._listen(epoch)

    def _look(self, number: int) -> None:
        if number == self._epoch:
            self.early = {name: t.detach().clone() for name, t in self._model.state_dict().items()}


def _finetune(
    stage: Stage, workbench: Workbench, came: State, listen: Listener, saver: Checkpointer
) -> tuple[Tensors, Record]:
    model, zeros = _starting(stage, workbench, came), _on(workbench, came.zeros)
    keep = keep_masked(model, zeros)
    keep(0.0)  # rewound or new weights have not been pruned yet
    recipe = _recipe(stage)
    if stage.retrain == "scratch-b":
        dense = workbench.dense(stage.architecture)
        left = nonzero(dense, model, zeros).macs
        recipe = scratch_b(recipe, dense.macs, left, stage.scratch_limit)
    hooks = Hooks(after_step=keep, saver=saver)
    trained = _run(stage, workbench, model, hooks, listen, recipe)
    if workbench.spread.helps:
        return {}, {}
    tensors = State(dict(model.state_dict()), zeros).pack()
    record = workbench.measure(model) | trained | _epochs(stage, recipe)
    if zeros:
        _, difference = compact_certified(
            model, structure_of(model), zeros, workbench.certificate_images
        )
        return tensors, record | {"surgery_difference": difference}
    counted = workbench.dense(stage.architecture)  # never pruned: the dense control
    for what in ("dense", "nonzero", "compact"):
        record |= sizes(what, counted)
    for what in ("dense", "compact"):
        record |= operations(what, counted)
    return tensors, record | byte_sizes(model, model)


def _starting(stage: Stage, workbench: Workbench, came: State) -> nn.Module:
    """Return the network that a finetuning starts with."""
    if stage.retrain in SCRATCH and stage.parent:
        return workbench.place(
            workbench.model(stage.architecture, stage.seed, "weights from scratch")
        )
    model = workbench.starting(stage.architecture, stage.seed, "" if stage.parent else stage.start)
    if stage.parent:
        restore(model, came.early if stage.retrain == "weight-rewind" else came.weights)
    return workbench.place(model)


def _run(
    stage: Stage,
    workbench: Workbench,
    model: nn.Module,
    hooks: Hooks,
    listen: Listener,
    recipe: Recipe,
) -> Record:
    """Train in place; return times and the curves over epochs."""
    torch.manual_seed(derive(stage.seed, f"{stage.kind}: noise"))
    seed = derive(stage.seed, stage.kind)
    hooks = replace(hooks, spread=workbench.spread)
    trained = train(model, recipe, workbench.augmented(recipe), seed, hooks, listen)
    return {
        "train_loss": trained.loss,
        "seconds_train": trained.seconds,
        "seconds_penalty": trained.penalty_seconds,
        "images_per_second": trained.images_per_second,
        "curve_loss": [float(f"{loss:.6g}") for loss in trained.curve_loss],
        "curve_error": [float(f"{error:.6g}") for error in trained.curve_error],
        "resumed": trained.resumed,
        "trained_on": trained.trained_on,
        "micro_batch": trained.micro_batch,
        "captured": trained.captured,
        "compile": trained.compiled,
        "step_notes": trained.notes,
    }


def _on(workbench: Workbench, tensors: Tensors) -> Tensors:
    return {name: tensor.to(workbench.device) for name, tensor in tensors.items()}


def _epochs(stage: Stage, recipe: Recipe) -> Record:
    """Return the epochs trained: scratch-b knows its number only after pruning."""
    before = stage.parent.epochs_total if stage.parent else 0
    return {"epochs": recipe.epochs, "epochs_total": before + recipe.epochs}


def _recipe(stage: Stage) -> Recipe:
    assert stage.recipe is not None  # plan gives one to every training
    return stage.recipe
