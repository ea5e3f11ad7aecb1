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
    method, budget = asked_of(stage)
    began = time.perf_counter()
    came = State.of(before)
    model = attached(stage.parent or stage, workbench, {})
    if stage.parent:
        restore(model, came.weights)
    model.eval()
    selection = _select_in_rounds(method, model, budget, stage, workbench, came.zeros)
    call(method, "detach", model, workbench)
    structure = structure_of(model)
    zeros = _zero(model, structure, selection.masks)
    seconds = time.perf_counter() - began
    record = _pruned(stage, workbench, model, zeros, selection) | {"seconds_prune": seconds}
    left = State(dict(model.state_dict()), zeros, _early(stage, workbench, came))
    return left.pack(), record | workbench.measure(model)


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
    model = workbench.starting(stage.model, stage.seed, "" if weights else stage.start)
    if weights:
        restore(model, weights)
    model = workbench.place(model)
    if stage.method:
        torch.manual_seed(derive(stage.seed, "attach"))
        call(stage.method, "attach", model, workbench, fresh=not (weights or stage.start))
    return workbench.place(model)


class Pruning:
    """Lets a method prune in the middle of a training; what is gone stays gone."""

    def __init__(
        self, stage: Stage, workbench: Workbench, model: nn.Module, zeros: Tensors
    ) -> None:
        self._method, self._budget = asked_of(stage)
        self._stage, self._workbench, self._model = stage, workbench, model
        self._plain = workbench.model(stage.model, stage.seed)
        self.hold(zeros)

    @property
    def kept(self) -> float:
        """The share of the budget's unit that is to be kept in the end."""
        assert self._budget.kept != "own"  # variants refuses it
        return self._budget.kept

    def to(self, kept: float) -> None:
        """Prune by the method's scores until a share of the budget's unit is left."""
        if kept >= 1:
            return
        budget = self._budget.model_copy(update={"kept": kept})
        mode = self._model.training
        before = draws(self._workbench.device)
        chosen = _select(
            self._method, self._model, budget, self._stage, self._workbench, self.zeros
        )
        # The training's own draws go on as if nothing had happened.
        restore_draws(before, self._workbench.device)
        self._model.train(mode)
        zeros = zeroed_parameters(structure_of(self._plain), self._plain, chosen.masks)
        self.hold({name: mask.to(self._workbench.device) for name, mask in zeros.items()})
        self.keep(0.0)

    def hold(self, zeros: Tensors) -> None:
        """From now on keep at zero what these masks, which lie on the device, say."""
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


def _select_in_rounds(
    method: Method,
    model: nn.Module,
    budget: Budget,
    stage: Stage,
    workbench: Workbench,
    gone: Mapping[str, Tensor],
) -> Selection:
    """Score and select, several times where the method asks for it, to smaller and smaller shares.

    Between two rounds the network loses what was pruned, so that the next scores are those of
    what is left (Tanaka et al. 2020, algorithm 1).
    """
    plain = workbench.model(stage.model, stage.seed)
    for number in range(1, method.rounds):
        at = budget.model_copy(update={"passes": method.rounds}).at(number)
        masks = _select(method, model, at, stage, workbench, gone).masks
        gone = zeroed_parameters(structure_of(plain), plain, masks)
        keep_masked(model, gone)(0.0)
    return _select(method, model, budget, stage, workbench, gone)


def _select(
    method: Method,
    model: nn.Module,
    budget: Budget,
    stage: Stage,
    workbench: Workbench,
    gone: Mapping[str, Tensor],
) -> Selection:
    """Score and select; what ``gone`` says was pruned earlier stays so."""
    torch.manual_seed(derive(stage.seed, "scores"))
    batches, example = partial(_batches, stage, workbench), workbench.example.clone()
    facts = {"images": len(workbench.train), "batches": batches, "example": example}
    given = call(method, "scores", model, workbench, **facts)
    plain = workbench.model(stage.model, stage.seed)
    structure = structure_of(plain)
    shapes = {name: parameter.shape for name, parameter in plain.named_parameters()}
    scores = checked(given, structure, shapes, method.grain, method.leaves_out)
    scores = {name: _without(score, gone.get(name)) for name, score in scores.items()}
    units = Units.of(structure, scores, shapes)
    dense = workbench.dense(stage.model)
    return select(units, budget, dense, make_share(budget, plain, dense), method.own_threshold)


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
    structure, dense = structure_of(model), workbench.dense(stage.model)
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
    record |= {"params_untouched": gap.params, "macs_untouched": gap.macs}
    return record | sizes("nonzero", nonzero(dense, model, zeros))
