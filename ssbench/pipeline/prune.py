"""The prune stage: scores to masks, masks to zeros, and what is left counted and certified."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.experiment.stage import Stage
from ssbench.method.contract import Method
from ssbench.models.state_dict import restore
from ssbench.pipeline.hooks import call
from ssbench.pipeline.state import State, Tensors
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.budget import FLOOR, TOLERANCE, Budget
from ssbench.pruning.counting import count, nonzero
from ssbench.pruning.equivalence import compact_certified
from ssbench.pruning.graph.structure import Structure, structure_of
from ssbench.pruning.mask_sample import mask_sample
from ssbench.pruning.masking import alive, keep_masked
from ssbench.pruning.scores import checked
from ssbench.pruning.select import Selection, select
from ssbench.pruning.sizes import byte_sizes, make_share, operations, sizes
from ssbench.pruning.surgery import zeroed_parameters
from ssbench.pruning.units import Units
from ssbench.pruning.untouched import untouched
from ssbench.seeds import derive
from ssbench.training.recipe import Recipe
from ssbench.training.rng import draws, restore_draws

Record = dict[str, Any]


def prune(
    stage: Stage, workbench: Workbench, before: Mapping[str, Tensor]
) -> tuple[Tensors, Record]:
    """Carry out a prune stage; arguments and result as for `ssbench.pipeline.stages.carry_out`."""
    tensors, record, _ = pruned(stage, workbench, before)
    return tensors, record


def pruned(
    stage: Stage, workbench: Workbench, before: Mapping[str, Tensor]
) -> tuple[Tensors, Record, Selection]:
    """Carry out a prune stage like `prune`, and return also what was selected by which scores."""
    method, _ = asked_of(stage)
    began = time.perf_counter()
    came = State.of(before)
    model = attached(stage.parent or stage, workbench, {})
    if stage.parent:
        restore(model, came.weights)
    model.eval()
    selection = Selector(stage, workbench).select_in_rounds(model, came.zeros)
    call(method, "detach", model, workbench)
    structure = structure_of(model)
    zeros = _zero(model, structure, selection.masks)
    seconds = time.perf_counter() - began
    record = _pruned(stage, workbench, model, zeros, selection) | {"seconds_prune": seconds}
    left = State(dict(model.state_dict()), zeros, _early(stage, workbench, came))
    return left.pack(), record | workbench.measure(model), selection


def missed_budget(stage: Stage, record: Mapping[str, Any]) -> str:
    """Say that a pruning came nowhere near its budget, and what to do; nothing where it did."""
    budget, reached = stage.budget, record.get("budget_reached")
    if stage.kind != "prune" or budget is None or budget.kept == "own" or reached is None:
        return ""
    if abs(reached - budget.kept) <= TOLERANCE * budget.kept:
        return ""
    remedy = "ask for a larger share, or give it a finer grain"
    if budget.scope == "global" and not budget.protection:
        remedy = f"set budget.protection = {FLOOR} or budget.scope = 'layerwise'"
    return (
        f"{stage.model}, {type(stage.method).__name__}, seed {stage.seed}: {100 * reached:.3g} % "
        f"of {budget.unit} stay where {100 * budget.kept:.4g} % was asked, and no cut comes nearer;"
        f" such a row does not compete: {remedy}"
    )


def asked_of(stage: Stage) -> tuple[Method, Budget]:
    """The method and the budget of a stage that prunes."""
    assert stage.method is not None  # plan gives both to every such stage
    assert stage.budget is not None
    return stage.method, stage.budget


def attached(stage: Stage, workbench: Workbench, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build the network of a stage, with what its method attaches.

    ``weights`` are those of the pass before; none where the stage is the first one.
    """
    model = workbench.starting(stage.architecture, stage.seed, "" if weights else stage.start)
    if weights:
        restore(model, weights)
    model = workbench.place(model)
    if stage.method:
        torch.manual_seed(derive(stage.seed, "attach"))
        call(stage.method, "attach", model, workbench, fresh=not (weights or stage.start))
    return workbench.place(model)


class Selector:
    """Scores and selects for one stage; builds the plain network, which says what can go, once."""

    def __init__(self, stage: Stage, workbench: Workbench) -> None:
        self.method, self.budget = asked_of(stage)
        self._stage, self._workbench = stage, workbench
        self._plain = workbench.model(stage.architecture, stage.seed)
        self._structure = structure_of(self._plain)
        self._shapes = {name: p.shape for name, p in self._plain.named_parameters()}
        self._dense = workbench.dense(stage.architecture)

    def select(self, model: nn.Module, budget: Budget, gone: Mapping[str, Tensor]) -> Selection:
        """Score and select once; what ``gone`` marks as pruned earlier stays pruned."""
        torch.manual_seed(derive(self._stage.seed, "scores"))
        batches = partial(_batches, self._stage, self._workbench)
        example = self._workbench.example.clone()
        facts = {"images": len(self._workbench.train), "batches": batches, "example": example}
        given = call(self.method, "scores", model, self._workbench, **facts)
        leaves_out = self.method.leaves_out
        scores = checked(given, self._structure, self._shapes, self.method.grain, leaves_out)
        scores = {name: _without(score, gone.get(name)) for name, score in scores.items()}
        units = Units.of(self._structure, scores, self._shapes)
        share = make_share(budget, self._plain, self._dense)
        return select(units, budget, self._dense, share, self.method.own_threshold)

    def select_in_rounds(self, model: nn.Module, gone: Mapping[str, Tensor]) -> Selection:
        """Score and select in the method's number of rounds, each to a smaller share.

        Prunes ``model`` between two rounds, so that the next scores are those of what is left
        (Tanaka et al. 2020, algorithm 1).
        """
        rounds = self.method.rounds
        by_rounds = self.budget.model_copy(update={"passes": rounds, "schedule": ()})
        for number in range(1, rounds):
            budget = by_rounds.at(number)
            gone = self.zeros(self.select(model, budget, gone).masks)
            keep_masked(model, gone)(0.0)
        return self.select(model, self.budget, gone)

    def zeros(self, masks: Mapping[str, Tensor]) -> Tensors:
        """Return where the parameters of the plain network are zero (False) under masks."""
        return zeroed_parameters(self._structure, self._plain, masks)


class Pruning:
    """Lets a method prune during a training; what is pruned stays pruned."""

    def __init__(
        self, stage: Stage, workbench: Workbench, model: nn.Module, zeros: Tensors
    ) -> None:
        self._selector, self._device = Selector(stage, workbench), workbench.device
        self._model = model
        self.hold(zeros)

    @property
    def kept(self) -> float:
        """The share of the budget's unit to keep in the end."""
        assert self._selector.budget.kept != "own"  # variants refuses it
        return self._selector.budget.kept

    def to(self, kept: float) -> None:
        """Prune by the method's scores until this share of the budget's unit is left."""
        if kept >= 1:
            return
        budget = self._selector.budget.model_copy(update={"kept": kept})
        mode = self._model.training
        before = draws(self._device)
        masks = self._selector.select(self._model, budget, self.zeros).masks
        restore_draws(before, self._device)  # the training's own draws continue undisturbed
        self._model.train(mode)
        zeros = self._selector.zeros(masks)
        self.hold({name: mask.to(self._device) for name, mask in zeros.items()})
        self.keep(0.0)

    def hold(self, zeros: Tensors) -> None:
        """Keep parameters at zero from now on where these masks, on the device, are False."""
        self.zeros = zeros
        self.keep = keep_masked(self._model, zeros)


def _early(stage: Stage, workbench: Workbench, came: State) -> Tensors:
    """The weights that are rewound to, as a plain network has them.

    After the first training they are still in the form that the method attached.
    """
    method, parent = stage.method, stage.parent
    if not came.early or method is None or parent is None or parent.parent:
        return came.early
    model = attached(parent, workbench, {})
    restore(model, came.early)
    call(method, "detach", model.eval(), workbench)
    return dict(model.state_dict())


def _batches(stage: Stage, workbench: Workbench) -> Iterator[tuple[Tensor, Tensor]]:
    """Pass over the training images in an order that the seed decides, without augmentation.

    As they lie on a disk they may be sorted by class: the first ones would be all alike.
    """
    recipe = (stage.parent.recipe if stage.parent else stage.recipe) or Recipe()
    loader = workbench.loader(workbench.train, recipe.batch_size)
    generators = [torch.Generator().manual_seed(derive(stage.seed, "batches of scores"))] * 2
    return loader.shuffled(*generators)


def _without(score: Tensor, mask: Tensor | None) -> Tensor:
    """Give the lowest score of all to units without a weight left (mask False)."""
    if mask is None or score.dim() != mask.dim():
        return score
    return score.masked_fill(~alive(mask, score).to(score.device), -math.inf)


def _zero(model: nn.Module, structure: Structure, masks: Mapping[str, Tensor]) -> Tensors:
    """Set to zero, in place, what the masks and the silence behind them say; return where."""
    zeros = zeroed_parameters(structure, model, masks)
    for name, mask in zeros.items():
        parameter = model.get_parameter(name)
        zeros[name] = mask.to(parameter.device)
        parameter.data.mul_(zeros[name])
    return zeros


def _pruned(
    stage: Stage, workbench: Workbench, model: nn.Module, zeros: Mapping[str, Tensor], by: Selection
) -> Record:
    """Count what is left, in the dense shapes and after surgery, and certify the surgery."""
    structure, dense = structure_of(model), workbench.dense(stage.architecture)
    small, difference = compact_certified(model, structure, by.masks, workbench.certificate_images)
    counted = count(small, workbench.example)
    record: Record = {
        "budget_reached": by.reached,
        "threshold": by.threshold,
        "protected": by.protected,
        "uncounted": counted.uncounted,
        "surgery_difference": difference,
        "score_histogram": by.scores,
        "mask_sample": mask_sample(structure, model, by.masks),
        "layers": {
            layer.name: float(by.masks[layer.weight].float().mean())
            for layer in structure.prunable
            if layer.weight in by.masks
        },
        "layer_order": [layer.name for layer in structure.prunable if layer.weight in by.masks],
    }
    record |= sizes("dense", dense) | sizes("compact", counted)
    record |= operations("dense", dense) | operations("compact", counted)
    record |= byte_sizes(model, small)
    assert by.units is not None
    gap = untouched(by.units, dense)
    record["layers_untouched"] = len(gap.layers)
    record["untouched"] = gap.layers
    record |= {"params_untouched": gap.params, "macs_untouched": gap.macs}
    return record | sizes("nonzero", nonzero(dense, model, zeros))
