"""Carry out one stage: train, prune or finetune; knows no method by name."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.counting import Counts, count, nonzero
from ssbench.data import DataSet, Split
from ssbench.data.loader import Loader
from ssbench.device import peak_memory
from ssbench.evaluation import evaluate
from ssbench.method import Method, offer
from ssbench.models import MODELS
from ssbench.plan import Stage
from ssbench.recipe import Recipe
from ssbench.seeds import derive
from ssbench.sizes import byte_sizes, make_share, operations, sizes
from ssbench.sparsity import Budget, Selection, select
from ssbench.sparsity.units import Units
from ssbench.structure import Structure, structure_of
from ssbench.surgery import compact_certified, held, noise
from ssbench.training import Hooks, Listener, Trained, hold, train

Tensors = dict[str, Tensor]
Record = dict[str, Any]
_HELD = "held:"
"""Marks, among a stage's tensors, which parameters are held at zero."""
EVALUATION_BATCH = 1024
CERTIFIED_IMAGES = 32
"""So many validation images, and some of noise, does every surgery have to pass."""


class Bench:
    """A data set on a device, with what all stages on it share."""

    def __init__(self, dataset: DataSet, device: torch.device) -> None:
        self.dataset, self.device = dataset, device
        self.normalisation = dataset.normalisation
        parts = (dataset.train, dataset.validation, dataset.test)
        self.train, self.validation, self.test = (part.to(device) for part in parts)
        self._dense: dict[str, Counts] = {}

    @cached_property
    def example(self) -> Tensor:
        """One image of zeros [1, C, H, W]: tracing and counting need its shape."""
        return torch.zeros(1, *self.train.images.shape[1:], device=self.device)

    @cached_property
    def certificate_images(self) -> Tensor:
        """What networks before and after surgery are compared on: real images and noise."""
        real, _ = next(self.loader(self.validation, CERTIFIED_IMAGES).in_order())
        return torch.cat([real, noise(real.shape).to(real.device)])

    def loader(self, split: Split, batch_size: int, **augmentation: Any) -> Loader:
        """Make a loader of normalised batches."""
        return Loader(split, self.normalisation, batch_size, **augmentation)

    def model(self, name: str, seed: int) -> nn.Module:
        """Build a network; its initial weights depend on the seed only, not on the device."""
        torch.manual_seed(derive(seed, "initial weights"))
        return MODELS[name](self.dataset.channels, self.dataset.classes)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in the memory format that convolutions are fastest in."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def dense(self, name: str) -> Counts:
        """Count the unpruned network, once."""
        if name not in self._dense:
            self._dense[name] = count(self.model(name, 0), self.example.cpu())
        return self._dense[name]

    def measure(self, model: nn.Module) -> Record:
        """Measure loss and errors on validation and test images."""
        record: Record = {}
        for name, split in (("validation", self.validation), ("test", self.test)):
            measured = evaluate(model, self.loader(split, EVALUATION_BATCH))
            record |= {f"{name}_{key}": value for key, value in asdict(measured).items()}
        return record


def carry_out(
    stage: Stage, bench: Bench, before: Mapping[str, Tensor], listen: Listener
) -> tuple[Tensors, Record]:
    """Carry out one stage.

    Args:
        stage: what to do.
        bench: the data and the device.
        before: the tensors that the parent stage returned; none for a training.
        listen: is told of every finished epoch.

    Returns:
        The tensors that the next stage needs, and the measurements.

    Raises:
        RunFailedError: the stage cannot be finished; a method's own errors pass through.
    """
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    did = {"train": _train, "prune": _prune, "finetune": _finetune}[stage.kind]
    tensors, record = did(stage, bench, before, listen)
    return tensors, record | {"peak_memory_bytes": peak_memory(bench.device)}


def _train(
    stage: Stage, bench: Bench, before: Mapping[str, Tensor], listen: Listener
) -> tuple[Tensors, Record]:
    weights, zeros = parted(before)
    model = _attached(stage, bench, weights)
    zeros = {name: mask.to(bench.device) for name, mask in zeros.items()}
    method, keep = stage.method, hold(model, zeros)
    hooks = Hooks(after_step=keep)
    if method:

        def after_step(progress: float) -> None:
            method.after_step(model, progress)
            keep(progress)

        hooks = Hooks(
            offer(method.parameter_groups, model),
            lambda: offer(method.penalty, model, images=len(bench.train)),
            after_step,
        )
    keep(0.0)  # what a method attaches may have woken what was pruned
    trained = _run(stage, bench, model, hooks, listen)
    counted = bench.dense(stage.model)
    dense = sizes("dense", counted) | operations("dense", counted)
    tensors = dict(model.state_dict()) | {_HELD + name: mask for name, mask in zeros.items()}
    return tensors, bench.measure(model) | _times(trained) | dense


def _finetune(
    stage: Stage, bench: Bench, before: Mapping[str, Tensor], listen: Listener
) -> tuple[Tensors, Record]:
    weights, zeros = parted(before)
    model = bench.model(stage.model, stage.seed)
    model.load_state_dict(weights)
    model = bench.place(model)
    zeros = {name: mask.to(bench.device) for name, mask in zeros.items()}
    trained = _run(stage, bench, model, Hooks(after_step=hold(model, zeros)), listen)
    tensors = dict(model.state_dict()) | {_HELD + name: mask for name, mask in zeros.items()}
    record = bench.measure(model) | _times(trained)
    if zeros:
        _, difference = compact_certified(
            model, structure_of(model), zeros, bench.certificate_images
        )
        return tensors, record | {"surgery_difference": difference}
    dense = bench.dense(stage.model)  # never pruned: the dense control
    for what in ("dense", "nonzero", "compact"):
        record |= sizes(what, dense)
    return tensors, record | operations("compact", dense) | byte_sizes(model, model)


def parted(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """Part what a prune or finetune stage returned: the state of the network, and its masks.

    The masks are boolean, by parameter name: False is held at zero.
    """
    zeros = {name.removeprefix(_HELD): t for name, t in tensors.items() if name.startswith(_HELD)}
    return {name: t for name, t in tensors.items() if not name.startswith(_HELD)}, zeros


def _run(stage: Stage, bench: Bench, model: nn.Module, hooks: Hooks, listen: Listener) -> Trained:
    recipe = _recipe(stage)
    torch.manual_seed(derive(stage.seed, f"{stage.kind}: noise"))
    loader = bench.loader(bench.train, recipe.batch_size, shift=recipe.shift, flip=recipe.flip)
    seed = derive(stage.seed, stage.kind)
    return train(model, recipe, loader, seed, hooks, listen)


def _prune(
    stage: Stage, bench: Bench, before: Mapping[str, Tensor], listen: Listener
) -> tuple[Tensors, Record]:
    del listen
    method, budget = stage.method, stage.budget
    assert method is not None  # noqa: S101 -- plan gives every prune stage both
    assert budget is not None  # noqa: S101
    assert stage.parent is not None  # noqa: S101
    began = time.perf_counter()
    model = _attached(stage.parent, bench, {})
    weights, gone = parted(before)
    model.load_state_dict(weights)
    model.eval()
    selection = _select(method, model, budget, stage, bench, gone)
    offer(method.detach, model)
    structure = structure_of(model)
    zeros = _zero(model, structure, selection.masks)
    seconds = time.perf_counter() - began
    record = _pruned(stage, bench, model, zeros, selection) | {"seconds_prune": seconds}
    tensors = dict(model.state_dict()) | {_HELD + name: mask for name, mask in zeros.items()}
    return tensors, record | bench.measure(model)


def _attached(stage: Stage, bench: Bench, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a train stage, with what its method attaches.

    ``weights`` are those of the pass before; none where the stage is the first one.
    """
    model = bench.model(stage.model, stage.seed)
    if weights:
        model.load_state_dict(weights)
    model = bench.place(model)
    if stage.method:
        torch.manual_seed(derive(stage.seed, "attach"))
        offer(stage.method.attach, model, fresh=not weights)
    return bench.place(model)


def _select(
    method: Method,
    model: nn.Module,
    budget: Budget,
    stage: Stage,
    bench: Bench,
    gone: Mapping[str, Tensor],
) -> Selection:
    """Score and select; what ``gone`` says was pruned in an earlier pass stays so."""
    torch.manual_seed(derive(stage.seed, "scores"))
    parent = stage.parent.recipe if stage.parent else None
    loader = bench.loader(bench.train, (parent or Recipe()).batch_size)
    scores = offer(method.scores, model, images=len(bench.train), batches=loader.in_order)
    scores = {name: _without(score, gone.get(name)) for name, score in scores.items()}
    plain = bench.model(stage.model, stage.seed)
    structure = structure_of(plain)
    shapes = {name: parameter.shape for name, parameter in plain.named_parameters()}
    units = Units.of(structure, scores, shapes)
    dense = bench.dense(stage.model)
    return select(units, budget, dense, make_share(budget, plain, dense), method.own_threshold)


def _without(score: Tensor, mask: Tensor | None) -> Tensor:
    """Give the lowest score of all to units without a weight left (mask False)."""
    if mask is None or score.dim() != mask.dim():
        return score
    dims = tuple(d for d in range(mask.dim()) if score.shape[d] == 1 < mask.shape[d])
    alive = mask.any(dims, keepdim=True) if dims else mask
    return score.masked_fill(~alive.to(score.device), -math.inf)


def _zero(model: nn.Module, structure: Structure, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Set to zero, in place, what the masks and the silence behind them say; return where."""
    zeros = held(structure, model, masks)
    for name, mask in zeros.items():
        parameter = model.get_parameter(name)
        zeros[name] = mask.to(parameter.device)
        parameter.data.mul_(zeros[name])
    return zeros


def _pruned(
    stage: Stage, bench: Bench, model: nn.Module, zeros: Mapping[str, Tensor], by: Selection
) -> Record:
    """Count what is left, in the dense shapes and after surgery, and certify the surgery."""
    structure, dense = structure_of(model), bench.dense(stage.model)
    small, difference = compact_certified(model, structure, by.masks, bench.certificate_images)
    counted = count(small, bench.example)
    record: Record = {
        "budget_reached": by.reached,
        "threshold": by.threshold,
        "protected": by.protected,
        "uncounted": counted.uncounted,
        "surgery_difference": difference,
        "layers": {
            layer.name: float(by.masks[layer.weight].float().mean())
            for layer in structure.prunable
            if layer.weight in by.masks
        },
    }
    record |= sizes("dense", dense) | sizes("compact", counted)
    record |= operations("dense", dense) | operations("compact", counted)
    record |= byte_sizes(model, small)
    return record | sizes("nonzero", nonzero(dense, model, zeros))


def _times(trained: Trained) -> Record:
    return {
        "train_loss": trained.loss,
        "seconds_train": trained.seconds,
        "seconds_penalty": trained.penalty_seconds,
        "images_per_second": trained.images_per_second,
    }


def _recipe(stage: Stage) -> Recipe:
    assert stage.recipe is not None  # noqa: S101 -- plan gives one to every training
    return stage.recipe
