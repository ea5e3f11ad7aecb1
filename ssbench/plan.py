"""An experiment as runs, each a chain of stages; shared beginnings are the same stage.

train (seed 0, plain) -+- prune (magnitude, 50 %) - finetune
                       +- prune (magnitude, 20 %) - finetune

With several passes, train and prune are repeated before the finetuning. A method that prunes before
training has no first training, and what follows its pruning takes all epochs.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ssbench.errors import BadInputError
from ssbench.experiment import Experiment
from ssbench.method import Method
from ssbench.models import check, published_url
from ssbench.registry import MethodFile, Registry
from ssbench.retraining import SCRATCH, Retrain, retraining, rewind_epoch, whole
from ssbench.sparsity.budget import Budget
from ssbench.stage import Stage, Start, at_seed
from ssbench.stage import make_stage as _stage
from ssbench.variants import Variant, variants


@dataclass(frozen=True)
class Run:
    """One cell of the experiment: (data set, model, method, budget, seed)."""

    id: str
    experiment: str
    file: MethodFile
    method: Method
    label: str
    budget: Budget | None
    retrain: Retrain
    stage: Stage
    """The last stage; the others are its parents."""

    @property
    def stages(self) -> list[Stage]:
        """The stages in the order in which they are carried out."""
        return self.stage.chain()


def plan(experiment: Experiment, registry: Registry, fingerprint: str, source: str) -> list[Run]:
    """List the runs of an experiment, a hundred thousand of them in a second or two.

    Args:
        experiment: what to run.
        registry: where method names are looked up.
        fingerprint: of the data set.
        source: the experiment's file, named in errors.

    Raises:
        BadInputError: an unknown name, a hyper-parameter that does not fit, an empty sweep, or
            two runs that are the same.
    """
    weights: dict[str, str] = {}
    for index, model in enumerate(experiment.models):
        check(model, f"{source}: models.{index}")
        if experiment.start == "published":
            weights[model] = published_url(model, f"{source}: models.{index}")
    chosen = variants(experiment, registry, source)
    with _uncollected():
        return _runs(experiment, chosen, weights, fingerprint, source)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the garbage collector back: it would go over all the runs again and again."""
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
    weights: Mapping[str, str],
    fingerprint: str,
    source: str,
) -> list[Run]:
    runs: dict[str, tuple[Run, str]] = {}
    known: dict[str, Stage] = {}
    chains: dict[tuple[str, int, int], Stage] = {}
    for model, seed, (number, variant) in itertools.product(
        experiment.models, experiment.seeds, enumerate(chosen)
    ):
        if model not in variant.models:
            continue
        for place, budget in enumerate(variant.budgets):
            key = (model, number, place)
            if key not in chains:
                start = Start(experiment.dataset, fingerprint, model, seed, weights.get(model, ""))
                chains[key] = _chain(experiment, variant, budget, start)
            stage = at_seed(chains[key], seed, fingerprint, known)
            run = _run(experiment, variant, budget, stage)
            if stage.id in runs:
                raise BadInputError(
                    f"{source}: {variant.place} and {runs[stage.id][1]} both ask for the run "
                    f"{run.id}; take one of them out"
                )
            runs[stage.id] = (run, variant.place)
    return [run for run, _ in runs.values()]


def stages(runs: list[Run]) -> list[Stage]:
    """Every distinct stage of the runs, parents first."""
    found = {stage.id: stage for run in runs for stage in run.stages}
    return list(found.values())


def _run(experiment: Experiment, variant: Variant, budget: Budget | None, last: Stage) -> Run:
    kept = [] if budget is None else [f"{budget.kept}"]
    how = [] if variant.retrain == "finetune" else [variant.retrain]
    name, seed = variant.file.name, f"seed{last.seed}"
    parts = [last.dataset, last.model, name, *how, *kept, seed, last.id[:8]]
    return Run(
        id="-".join(parts),
        experiment=experiment.name,
        file=variant.file,
        method=variant.method,
        label=variant.label,
        budget=budget,
        retrain=variant.retrain,
        stage=last,
    )


def _chain(experiment: Experiment, variant: Variant, budget: Budget | None, start: Start) -> Stage:
    train, finetune, retrain = experiment.train, experiment.finetune, variant.retrain
    last_recipe = retraining(retrain, train, finetune)
    limit = experiment.scratch_limit if retrain == "scratch-b" else 1.0
    own = variant if variant.method.changes_training() else None
    if budget is None:
        last = None if retrain == "scratch-e" else _stage(start, "train", None, own, train)
        return _stage(start, "finetune", last, None, last_recipe, retrain=retrain)
    if variant.method.before_training:
        last = _stage(start, "prune", None, variant, budget)
        recipe = whole(train, finetune) if retrain == "finetune" else last_recipe
        return _stage(start, "finetune", last, None, recipe, retrain=retrain, scratch_limit=limit)
    while_training = budget if variant.prunes_in_training else None
    snapshot = rewind_epoch(train, finetune) if _rewinds(experiment) else None
    last = _stage(start, "train", None, own, train, budget=while_training, snapshot=snapshot)
    last = _stage(start, "prune", last, variant, budget.at(1))
    for number in range(2, budget.passes + 1):
        # Sparse training starts again on what is left; a method that only scores is retrained.
        again, how = (train if own else last_recipe), "finetune" if retrain in SCRATCH else retrain
        last = _stage(start, "train", last, own, again, budget=while_training, retrain=how)
        last = _stage(start, "prune", last, variant, budget.at(number))
    return _stage(start, "finetune", last, None, last_recipe, retrain=retrain, scratch_limit=limit)


def _rewinds(experiment: Experiment) -> bool:
    """Whether a run of the experiment rewinds weights: then all its trainings keep the early ones.

    If only those of the runs that need them did, trainings that are the same would not be shared.
    """
    specs = experiment.methods
    return not isinstance(specs, str) and any("weight-rewind" in s.retrainings for s in specs)


__all__ = ["Run", "Stage", "plan", "stages"]
