"""Find budgets that a method cannot reach, and too large shifts, before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ssbench.errors import BadInputError
from ssbench.experiment.stage import Run
from ssbench.method.contract import to_grain
from ssbench.pipeline.precheck import Trial, kind_of, trial_of
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import least_share
from ssbench.pruning.sizes import make_share
from ssbench.pruning.units import Units
from ssbench.pruning.untouched import Untouched, untouched

Key = tuple[object, ...]
Known = Callable[[Run, Workbench], Trial]
"""Returns what the trial of a run's method showed."""


def check_shift(runs: Sequence[Run], workbench: Workbench, source: str) -> None:
    """Refuse an augmentation that can move a whole image out of the frame.

    Raises:
        BadInputError: names the shift and the images' size.
    """
    size = workbench.train.image_shape[1:]
    for recipe in {stage.recipe for run in runs for stage in run.stages if stage.recipe}:
        if recipe.shift and recipe.shift >= min(size):
            raise BadInputError(
                f"{source}: shift: {recipe.shift} pixels, but the images of "
                f"{workbench.dataset.name} have {size[0]} x {size[1]}; ask for at most "
                f"{min(size) - 1}"
            )


def check_reach(
    runs: Sequence[Run], workbench: Workbench, source: str, trial: Known = trial_of
) -> None:
    """Refuse a budget below the smallest share that the method can keep.

    Raises:
        BadInputError: names the method, the share, the smallest one possible, and why.
    """
    scored: dict[Key, Units] = {}
    least: dict[Key, float] = {}
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
        name, fitted = run.stage.model, workbench.fitted(run.stage.preprocessing)
        units = _units(run, fitted, scored, trial)
        dense = fitted.dense(run.stage.architecture)
        key = (kind_of(run), budget.unit, budget.scope)
        if key not in least:
            share = make_share(budget, fitted.model(run.stage.architecture, 0), dense)
            least[key] = least_share(units, budget, dense, share)
        if budget.kept < least[key]:
            why = str(untouched(units, dense))
            raise BadInputError(
                f"{source}: budget.kept: {budget.kept:g} of {budget.unit} is out of reach for "
                f"{run.label} on {name}: with one {run.method.grain} left"
                f"{' in every layer' if budget.scope == 'layerwise' else ''}, "
                f"{least[key]:.3g} stays{f', as {why}' if why else ''}; ask for more than that"
            )


def out_of_reach(runs: Sequence[Run], workbench: Workbench) -> list[str]:
    """Return a line per network and method about what it cannot prune; none if it can prune all."""
    scored: dict[Key, Units] = {}
    lines: dict[Key, str] = {}
    for run in runs:
        if run.budget is None or kind_of(run) in lines:
            continue
        fitted = workbench.fitted(run.stage.preprocessing)
        gap: Untouched = untouched(
            _units(run, fitted, scored, trial_of), fitted.dense(run.stage.architecture)
        )
        lines[kind_of(run)] = f"{run.label} on {run.stage.model}: {gap}" if gap.layers else ""
    return list(dict.fromkeys(line for line in lines.values() if line))


def _units(run: Run, workbench: Workbench, known: dict[Key, Units], trial: Known) -> Units:
    """Return the units that a method scores in an untrained network; all where nobody knows."""
    key = kind_of(run)
    if key not in known:
        plain = workbench.model(run.stage.architecture, 0)
        structure = structure_of(plain)
        shapes = {name: parameter.shape for name, parameter in plain.named_parameters()}
        scored = trial(run, workbench).scored
        ones = {
            layer.weight: to_grain(torch.ones(shapes[layer.weight]), run.method.grain)
            for layer in structure.prunable
            if scored is None or layer.weight in scored
        }
        known[key] = Units.of(structure, ones, shapes)
    return known[key]
