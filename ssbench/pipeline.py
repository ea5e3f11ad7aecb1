"""Carry out one stage: train, prune or finetune; knows no method by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.certificate import compact_certified
from ssbench.counting import nonzero
from ssbench.device import clear, peak_memory
from ssbench.energy import metered
from ssbench.holding import hold
from ssbench.method import offer, wants
from ssbench.precision import products
from ssbench.pruning import Pruning, attached, prune
from ssbench.recipe import Recipe
from ssbench.retraining import SCRATCH, scratch_b
from ssbench.saving import UNSAVED, Part, Saver
from ssbench.seeds import derive
from ssbench.sizes import byte_sizes, operations, sizes
from ssbench.stage import Stage
from ssbench.state import State, Tensors, restore
from ssbench.structure import structure_of
from ssbench.training import Epoch, Hooks, Listener, train
from ssbench.workbench import Bench

Record = dict[str, Any]


def carry_out(
    stage: Stage,
    bench: Bench,
    before: Mapping[str, Tensor],
    listen: Listener,
    saver: Saver = UNSAVED,
) -> tuple[Tensors, Record]:
    """Carry out one stage.

    Args:
        stage: what to do.
        bench: the data and the device.
        before: the tensors that the parent stage returned; none for a first stage.
        listen: is told of every finished epoch.
        saver: saves a training between its epochs, and gives back what it saved.

    Returns:
        The tensors that the next stage needs, and the measurements; neither where this process
        only helps another one to train.

    Raises:
        RunFailedError: the stage cannot be finished; a method's own errors pass through.
    """
    clear(bench.device)
    jointly = bench.spread.share.of
    # Products in single precision, but for a training that asks for less.
    with metered(bench.device, jointly) as meter, products("fp32"):
        if stage.kind == "prune":
            tensors, record = prune(stage, bench, before)
        else:
            did = {"train": _train, "finetune": _finetune}[stage.kind]
            tensors, record = did(stage, bench, State.of(before), listen, saver)
    costs = {"peak_memory_bytes": peak_memory(bench.device), "energy_joules": meter.joules}
    return tensors, record | costs | {"devices": jointly if stage.recipe else 1}


def _train(
    stage: Stage, bench: Bench, came: State, listen: Listener, saver: Saver
) -> tuple[Tensors, Record]:
    rewound = stage.retrain == "weight-rewind"
    model = attached(stage, bench, came.early if rewound else came.weights)
    zeros = _on(bench, came.zeros)
    hooks, zeros_now = _hooks(stage, bench, model, zeros)
    hooks.after_step(0.0)  # what a method attaches may have woken what was pruned
    snapshot = _Snapshot(model, stage.snapshot, listen)
    hooks = replace(hooks, parts={**hooks.parts, "early": snapshot.part}, saver=saver)
    trained = _run(stage, bench, model, hooks, snapshot, _recipe(stage))
    if bench.spread.helps:
        return {}, {}
    counted = bench.dense(stage.model)
    dense = sizes("dense", counted) | operations("dense", counted)
    left = State(dict(model.state_dict()), zeros_now(), snapshot.early or came.early)
    return left.pack(), bench.measure(model) | trained | dense


def _hooks(
    stage: Stage, bench: Bench, model: nn.Module, zeros: Tensors
) -> tuple[Hooks, Callable[[], Tensors]]:
    """What a method adds to a training, and a function that says what is zero by then."""
    method = stage.method
    if method is None:
        return Hooks(after_step=hold(model, zeros)), lambda: zeros
    parts: dict[str, Part] = {}
    if wants(method.after_step, "pruning"):
        pruning = Pruning(stage, bench, model, zeros)

        def prune_step(progress: float) -> None:
            offer(method.after_step, model, progress=progress, pruning=pruning)
            pruning.keep(progress)

        after_step, zeros_now = prune_step, lambda: pruning.zeros
        parts = {"zeros": Part(zeros_now, lambda saved: pruning.hold(_on(bench, saved)))}
    else:
        keep = hold(model, zeros)

        def plain_step(progress: float) -> None:
            method.after_step(model, progress)
            keep(progress)

        after_step, zeros_now = plain_step, lambda: zeros
    groups = offer(method.parameter_groups, model)
    images = len(bench.train)
    hooks = Hooks(groups, lambda: offer(method.penalty, model, images=images), after_step, parts)
    return hooks, zeros_now


class _Snapshot:
    """Passes on finished epochs, and copies the weights at one of them; 0: before the first."""

    def __init__(self, model: nn.Module, epoch: int | None, listen: Listener) -> None:
        self._model, self._epoch, self._listen = model, epoch, listen
        self.early: Tensors = {}
        self._look(0)

    @property
    def part(self) -> Part:
        """The copy, if it was made by now, to be saved with the training."""
        return Part(lambda: self.early, self._take)

    def _take(self, saved: Tensors) -> None:
        self.early = saved

    def __call__(self, epoch: Epoch) -> None:
        self._look(epoch.number)
        self._listen(epoch)

    def _look(self, number: int) -> None:
        if number == self._epoch:
            self.early = {name: t.detach().clone() for name, t in self._model.state_dict().items()}


def _finetune(
    stage: Stage, bench: Bench, came: State, listen: Listener, saver: Saver
) -> tuple[Tensors, Record]:
    model, zeros = _starting(stage, bench, came), _on(bench, came.zeros)
    keep = hold(model, zeros)
    keep(0.0)  # rewound or new weights have not been pruned yet
    recipe = _recipe(stage)
    if stage.retrain == "scratch-b":
        dense = bench.dense(stage.model)
        left = nonzero(dense, model, zeros).macs
        recipe = scratch_b(recipe, dense.macs, left, stage.scratch_limit)
    hooks = Hooks(after_step=keep, saver=saver)
    trained = _run(stage, bench, model, hooks, listen, recipe)
    if bench.spread.helps:
        return {}, {}
    tensors = State(dict(model.state_dict()), zeros).pack()
    record = bench.measure(model) | trained | _epochs(stage, recipe)
    if zeros:
        _, difference = compact_certified(
            model, structure_of(model), zeros, bench.certificate_images
        )
        return tensors, record | {"surgery_difference": difference}
    counted = bench.dense(stage.model)  # never pruned: the dense control
    for what in ("dense", "nonzero", "compact"):
        record |= sizes(what, counted)
    for what in ("dense", "compact"):
        record |= operations(what, counted)
    return tensors, record | byte_sizes(model, model)


def _starting(stage: Stage, bench: Bench, came: State) -> nn.Module:
    """The network that a pruned one is trained from."""
    if stage.retrain in SCRATCH and stage.parent:
        return bench.place(bench.model(stage.model, stage.seed, "weights from scratch"))
    model = bench.starting(stage.model, stage.seed, "" if stage.parent else stage.start)
    if stage.parent:
        restore(model, came.early if stage.retrain == "weight-rewind" else came.weights)
    return bench.place(model)


def _run(
    stage: Stage, bench: Bench, model: nn.Module, hooks: Hooks, listen: Listener, recipe: Recipe
) -> Record:
    """Train in place; return times, and what every epoch gave."""
    torch.manual_seed(derive(stage.seed, f"{stage.kind}: noise"))
    seed = derive(stage.seed, stage.kind)
    hooks = replace(hooks, spread=bench.spread)
    trained = train(model, recipe, bench.augmented(recipe), seed, hooks, listen)
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
    }


def _on(bench: Bench, tensors: Tensors) -> Tensors:
    return {name: tensor.to(bench.device) for name, tensor in tensors.items()}


def _epochs(stage: Stage, recipe: Recipe) -> Record:
    """How long was trained in the end: known only now where it depends on what was pruned."""
    before = stage.parent.epochs_total if stage.parent else 0
    return {"epochs": recipe.epochs, "epochs_total": before + recipe.epochs}


def _recipe(stage: Stage) -> Recipe:
    assert stage.recipe is not None  # noqa: S101 -- plan gives one to every training
    return stage.recipe
