"""Budgets that a grain cannot reach, found before any training starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssbench.errors import BadInputError
from ssbench.experiment.stage import Run
from ssbench.method.contract import Grain, to_grain
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.budget import Budget
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import least_share
from ssbench.pruning.sizes import make_share
from ssbench.pruning.units import Units


def check_reach(runs: Sequence[Run], workbench: Workbench, source: str) -> None:
    """Refuse a budget that is under the smallest share that its grain can keep.

    Raises:
        BadInputError: names the method, the share and the smallest one possible.
    """
    least: dict[tuple[str, Grain, str, str], float] = {}
    for run in runs:
        budget = run.budget
        if budget is None:
            continue
        if budget.kept == "own":
            if run.method.own_threshold is None:
                raise BadInputError(
                    f"{source}: budget.kept: {run.file.name} has no threshold of its own; "
                    "give it shares instead of 'own'"
                )
            continue
        key = (run.stage.model, run.method.grain, budget.unit, budget.scope)
        if key not in least:
            least[key] = _least(run, budget, workbench)
        if budget.kept < least[key]:
            raise BadInputError(
                f"{source}: budget.kept: {budget.kept:g} of {budget.unit} cannot be reached by "
                f"{run.label} on {run.stage.model}: with one {run.method.grain} left"
                f"{' in every layer' if budget.scope == 'layerwise' else ''}, "
                f"{least[key]:.3g} stays; ask for more than that"
            )


def _least(run: Run, budget: Budget, workbench: Workbench) -> float:
    plain = workbench.model(run.stage.model, 0)
    structure = structure_of(plain)
    shapes = {name: parameter.shape for name, parameter in plain.named_parameters()}
    scores = {
        layer.weight: to_grain(torch.ones(shapes[layer.weight]), run.method.grain)
        for layer in structure.prunable
    }
    units = Units.of(structure, scores, shapes)
    dense = workbench.dense(run.stage.model)
    return least_share(units, budget, dense, make_share(budget, plain, dense))
