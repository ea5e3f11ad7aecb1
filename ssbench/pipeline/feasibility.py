"""Find budgets that a method cannot reach, and too large shifts, before any training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from ssbench.errors import BadInputError
from ssbench.experiment.stage import Run
from ssbench.method.contract import offer, to_grain
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import least_share
from ssbench.pruning.sizes import make_share
from ssbench.pruning.units import Units
from ssbench.pruning.untouched import Untouched, untouched

PROBED = 8
"""Number of images for a trial of a method's scores."""
Key = tuple[object, ...]


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


def check_reach(runs: Sequence[Run], workbench: Workbench, source: str) -> None:
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
        units = _units(run, fitted, scored)
        dense = fitted.dense(run.stage.architecture)
        key = (_key(run), budget.unit, budget.scope)
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
        if run.budget is None or _key(run) in lines:
            continue
        fitted = workbench.fitted(run.stage.preprocessing)
        gap: Untouched = untouched(
            _units(run, fitted, scored), fitted.dense(run.stage.architecture)
        )
        lines[_key(run)] = f"{run.label} on {run.stage.model}: {gap}" if gap.layers else ""
    return list(dict.fromkeys(line for line in lines.values() if line))


def _key(run: Run) -> Key:
    """Identify what a method scores: its text and boolean settings matter, numbers do not."""
    words = {k: v for k, v in run.method.settings.items() if isinstance(v, str | bool)}
    return (run.stage.model, run.file.name, run.method.grain, tuple(sorted(words.items())))


def _units(run: Run, workbench: Workbench, known: dict[Key, Units]) -> Units:
    """Return the units that a method scores in an untrained network."""
    if _key(run) not in known:
        plain = workbench.model(run.stage.architecture, 0)
        structure = structure_of(plain)
        shapes = {name: parameter.shape for name, parameter in plain.named_parameters()}
        ones = {
            layer.weight: to_grain(torch.ones(shapes[layer.weight]), run.method.grain)
            for layer in structure.prunable
        }
        try:
            # A user's method runs in its own process, not here.
            scores = _scores(run, workbench) if run.file.is_ours else ones
            units = Units.of(structure, scores, shapes)
        except Exception:  # a method's code may raise anything; its stage reports the error
            units = Units.of(structure, ones, shapes)
        known[_key(run)] = units
    return known[_key(run)]


def _scores(run: Run, workbench: Workbench) -> dict[str, Tensor]:
    model = workbench.place(workbench.model(run.stage.architecture, 0))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return islice(iter(workbench.loader(workbench.train, PROBED).in_order()), 1)

    offer(run.method.attach, model, fresh=True)
    facts = {"images": len(workbench.train), "batches": batches, "example": workbench.example}
    scores: dict[str, Tensor] = offer(run.method.scores, model.eval(), **facts)
    return scores
