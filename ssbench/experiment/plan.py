"""Turn an experiment into runs, each a chain of stages; runs share equal stages.

train (seed 0, plain) -+- prune (magnitude, 50 %) - finetune
                       +- prune (magnitude, 20 %) - finetune

With several passes, train and prune repeat before the finetuning. A method that prunes before
training has no first training, and the training after its pruning takes all epochs.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.data.registry import in_folder
from ssbench.errors import BadInputError
from ssbench.experiment.networks import find_starts
from ssbench.experiment.retraining import (
    SCRATCH,
    Retrain,
    portions,
    retraining,
    rewind_epoch,
    whole,
)
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Known, Run, Stage, Start, at_seed, make_stage
from ssbench.experiment.variant import Variant
from ssbench.experiment.variants import variants
from ssbench.method.registry import Registry, foreign_contained
from ssbench.pruning.budget import Budget
from ssbench.training.recipe import Recipe


def plan(
    experiment: Experiment,
    registry: Registry,
    fingerprint: str,
    source: str,
    model_files: Sequence[Path] = (),
) -> list[Run]:
    """List the runs of an experiment; a hundred thousand take a second or two.

    Takes a folder of images for photographs on disk, which it does not open.

    Args:
        experiment: the experiment.
        registry: of the methods.
        fingerprint: of the data set.
        source: the experiment's file, for errors and for the paths that it names.
        model_files: files with networks that the experiment names.

    Raises:
        BadInputError: an unknown name, a hyper-parameter that does not fit, an empty sweep, or
            two equal runs.
    """
    chosen = variants(experiment, registry, source)
    on_disk = STANDARD if in_folder(experiment.dataset) else None
    return plan_variants(experiment, chosen, fingerprint, source, model_files, on_disk)


def plan_variants(
    experiment: Experiment,
    chosen: Sequence[Variant],
    fingerprint: str,
    source: str,
    model_files: Sequence[Path],
    on_disk: Preprocessing | None,
) -> list[Run]:
    """List the runs of the chosen variants of an experiment; see `plan`.

    ``on_disk`` is the preprocessing of images that stay on disk; None: they are in memory.
    """
    if on_disk:
        _refuse_shift(experiment, source)
    starts = find_starts(experiment, fingerprint, source, model_files, on_disk)
    with _uncollected(), foreign_contained(variant.file for variant in chosen):
        return _runs(experiment, chosen, starts, source)


def _refuse_shift(experiment: Experiment, source: str) -> None:
    """Refuse shifts other than 0 and 1 for photographs: the number would have no effect.

    Raises:
        BadInputError: names the recipe.
    """
    for name, recipe in (("train", experiment.train), ("finetune", experiment.finetune)):
        if (recipe.shift or 0) > 1:
            raise BadInputError(
                f"{source}: {name}.shift: photographs of a folder are cropped at random (1) or not "
                f"(0), not shifted by {recipe.shift} pixels; write 1 or 0"
            )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the garbage collector off: it would visit all runs again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _runs(
    experiment: Experiment,
    chosen: Sequence[Variant],
    starts: Mapping[str, Start],
    source: str,
) -> list[Run]:
    runs: dict[str, tuple[Run, str]] = {}
    known: Known = {}
    chains: dict[tuple[str, int, int], tuple[Stage, str]] = {}
    for model, seed, (number, variant) in itertools.product(
        starts, experiment.seeds, enumerate(chosen)
    ):
        if model not in variant.models:
            continue
        for place, budget in enumerate(variant.budgets):
            key = (model, number, place)
            if key not in chains:
                last = _chain(experiment, variant, budget, starts[model])
                if (bare := variant.bare.get(place)) is not None:
                    last = replace(last, twin=chains[model, number, bare][0])
                chains[key] = (last, _name(variant, budget, last))
            last, name = chains[key]
            stage = at_seed(last, seed, known)
            run = _run(experiment, variant, budget, stage, name)
            if stage.id in runs:
                raise BadInputError(
                    f"{source}: {variant.place} and {runs[stage.id][1]} both ask for the run "
                    f"{run.id}; remove one of them"
                )
            runs[stage.id] = (run, variant.place)
    return [run for run, _ in runs.values()]


def stages(runs: list[Run]) -> list[Stage]:
    """Return every distinct stage of the runs, parents first."""
    return list({stage.id: stage for run in runs for stage in run.stages}.values())


LONGEST = 180
"""Characters of a run's id before its seed: the path of an image folder can be longer than the 255
that a file's name may have."""
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
"""Characters that become a dash in a run's id, which is the name of a file."""


def _name(variant: Variant, budget: Budget | None, last: Stage) -> str:
    """Return the first part of the ids of runs that differ only in the seed."""
    kept = [] if budget is None else [f"{budget.kept}"]
    how = [] if variant.retrain == "finetune" else [variant.retrain]
    parts = [last.dataset, last.model, variant.file.name, *how, *kept]
    name = _ODD.sub("-", "-".join(parts))
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _run(
    experiment: Experiment, variant: Variant, budget: Budget | None, last: Stage, name: str
) -> Run:
    return Run(
        id=f"{name}-seed{last.seed}-{last.id[:8]}",
        experiment=experiment.name,
        file=variant.file,
        method=variant.method,
        label=variant.label,
        budget=budget,
        retrain=variant.retrain,
        stage=last,
        tuning=variant.tuning,
    )


def _chain(experiment: Experiment, variant: Variant, budget: Budget | None, start: Start) -> Stage:
    train, finetune = experiment.train, _finetune(experiment, variant)
    retrain = variant.retrain
    last_recipe = retraining(retrain, train, finetune)
    limit = experiment.scratch_limit if retrain == "scratch-b" else 1.0

    def end(last: Stage | None, recipe: Recipe) -> Stage:
        return make_stage(
            start, "finetune", last, None, recipe, retrain=retrain, scratch_limit=limit
        )

    own = variant if variant.method.changes_training() else None
    if budget is None:
        last = None if retrain == "scratch-e" else make_stage(start, "train", None, own, train)
        return end(last, last_recipe)
    if variant.method.before_training:
        last = make_stage(start, "prune", None, variant, budget)
        recipe = whole(train, finetune) if retrain == "finetune" else last_recipe
        return end(last, recipe)
    while_training = budget if variant.prunes_in_training else None
    snapshot = rewind_epoch(train, finetune) if _rewinds(experiment) else None
    trainings, last_recipe = _by_pass(experiment, variant, budget, last_recipe)
    how: Retrain = "finetune" if retrain in SCRATCH else retrain
    last = make_stage(
        start, "train", None, own, trainings[0], budget=while_training, snapshot=snapshot
    )
    last = make_stage(start, "prune", last, variant, budget.at(1))
    for number, again in enumerate(trainings[1:], 2):
        last = make_stage(start, "train", last, own, again, budget=while_training, retrain=how)
        last = make_stage(start, "prune", last, variant, budget.at(number))
    return end(last, last_recipe)


def _finetune(experiment: Experiment, variant: Variant) -> Recipe:
    if variant.finetune_lr is None:
        return experiment.finetune
    return experiment.finetune.model_copy(update={"lr": variant.finetune_lr})


def _by_pass(
    experiment: Experiment, variant: Variant, budget: Budget, last: Recipe
) -> tuple[list[Recipe], Recipe]:
    """Return the recipes of the trainings before each pruning, and of the one after the last.

    Sparse training starts again on the pruned network; a method that only scores is retrained.
    """
    train, passes = experiment.train, budget.passes
    sparse = variant.method.changes_training()
    if experiment.passes_epochs == "repeat" or passes == 1:
        return [train] + [train if sparse else last] * (passes - 1), last
    if sparse:
        return portions(train, passes), last
    *between, ending = portions(_finetune(experiment, variant), passes)
    return [train, *between], last if variant.retrain in SCRATCH else ending


def _rewinds(experiment: Experiment) -> bool:
    """Whether any run of the experiment rewinds weights: then all trainings keep the early ones.

    If only the runs that need them kept them, equal trainings would not be shared.
    """
    specs = experiment.methods
    return not isinstance(specs, str) and any("weight-rewind" in s.retrainings for s in specs)
