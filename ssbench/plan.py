"""An experiment as runs, each a chain of stages; shared beginnings are the same stage.

train (seed 0, plain) -+- prune (magnitude, 50 %) - finetune
                       +- prune (magnitude, 20 %) - finetune

With several passes, train and prune are repeated before the finetuning. A method that prunes before
training has no first training, and what follows its pruning takes all epochs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ssbench.errors import BadInputError
from ssbench.experiment import Experiment
from ssbench.method import Method
from ssbench.models import check, published_url
from ssbench.recipe import Recipe
from ssbench.registry import MethodFile, Registry
from ssbench.retraining import SCRATCH, Retrain, portions, retraining, rewind_epoch, whole
from ssbench.sparsity.budget import Budget
from ssbench.variants import Variant, variants

PROTOCOL = 2
"""Raised when a change of the harness changes results; part of every stage's id."""

Kind = Literal["train", "prune", "finetune"]


@dataclass(frozen=True)
class Stage:
    """One step of a run; ``id`` is a hash of all that can change its result."""

    kind: Kind
    id: str
    parent: Stage | None
    dataset: str
    model: str
    seed: int
    method: Method | None = field(repr=False)
    """None in a training that no method changes."""
    recipe: Recipe | None = None
    budget: Budget | None = None
    """Also that of a training during which the method prunes."""
    retrain: Retrain = "finetune"
    """How a training goes on from what was pruned before it."""
    snapshot: int | None = None
    """The epoch of a first training whose weights are kept to be rewound to."""
    scratch_limit: float = 1.0
    """The most that scratch-b multiplies the epochs of ``recipe`` by."""
    start: str = ""
    """The address of the weights that the run begins with; empty: random ones."""

    @property
    def epochs(self) -> int:
        """The epochs of this stage alone; with scratch-b the most that it can have."""
        return round(self.recipe.epochs * self.scratch_limit) if self.recipe else 0

    @property
    def epochs_total(self) -> int:
        """The epochs from the start of the run to the end of this stage."""
        return self.epochs + (self.parent.epochs_total if self.parent else 0)

    def chain(self) -> list[Stage]:
        """All stages from the first to this one."""
        return [*(self.parent.chain() if self.parent else []), self]


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
    tuning: Mapping[str, Any] | None = None
    """How the hyper-parameters were tuned; None: they were not."""

    @property
    def stages(self) -> list[Stage]:
        """The stages in the order in which they are carried out."""
        return self.stage.chain()


@dataclass(frozen=True)
class Start:
    """What a chain of stages begins with."""

    dataset: str
    fingerprint: str
    model: str
    seed: int
    weights: str = ""
    """Their address; empty: random ones."""


def plan(experiment: Experiment, registry: Registry, fingerprint: str, source: str) -> list[Run]:
    """List the runs of an experiment.

    Args:
        experiment: what to run.
        registry: where method names are looked up.
        fingerprint: of the data set.
        source: the experiment's file, named in errors.

    Raises:
        BadInputError: an unknown name, a hyper-parameter that does not fit, an empty sweep, or
            two runs that are the same.
    """
    return plan_variants(experiment, variants(experiment, registry, source), fingerprint, source)


def plan_variants(
    experiment: Experiment, chosen: Sequence[Variant], fingerprint: str, source: str
) -> list[Run]:
    """List the runs of those methods of an experiment that have been chosen; see `plan`."""
    weights: dict[str, str] = {}
    for index, model in enumerate(experiment.models):
        check(model, f"{source}: models.{index}")
        if experiment.start == "published":
            weights[model] = published_url(model, f"{source}: models.{index}")
    runs: dict[str, tuple[Run, str]] = {}
    for model, seed, variant in itertools.product(experiment.models, experiment.seeds, chosen):
        if model not in variant.models:
            continue
        for budget in variant.budgets:
            start = Start(experiment.dataset, fingerprint, model, seed, weights.get(model, ""))
            stage = _chain(experiment, variant, budget, start)
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
        tuning=variant.tuning,
    )


def _chain(experiment: Experiment, variant: Variant, budget: Budget | None, start: Start) -> Stage:
    train, finetune = experiment.train, _finetune(experiment, variant)
    retrain = variant.retrain
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
    trainings, last_recipe = _by_pass(experiment, variant, budget, last_recipe)
    how: Retrain = "finetune" if retrain in SCRATCH else retrain
    last = _stage(start, "train", None, own, trainings[0], budget=while_training, snapshot=snapshot)
    last = _stage(start, "prune", last, variant, budget.at(1))
    for number, again in enumerate(trainings[1:], 2):
        last = _stage(start, "train", last, own, again, budget=while_training, retrain=how)
        last = _stage(start, "prune", last, variant, budget.at(number))
    return _stage(start, "finetune", last, None, last_recipe, retrain=retrain, scratch_limit=limit)


def _finetune(experiment: Experiment, variant: Variant) -> Recipe:
    if variant.finetune_lr is None:
        return experiment.finetune
    return experiment.finetune.model_copy(update={"lr": variant.finetune_lr})


def _by_pass(
    experiment: Experiment, variant: Variant, budget: Budget, last: Recipe
) -> tuple[list[Recipe], Recipe]:
    """The recipe of the training before each pruning, and that of the one after the last.

    Sparse training starts again on what is left; a method that only scores is retrained instead.
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
    """Whether a run of the experiment rewinds weights: then all its trainings keep the early ones.

    If only those of the runs that need them did, trainings that are the same would not be shared.
    """
    specs = experiment.methods
    return not isinstance(specs, str) and any("weight-rewind" in s.retrainings for s in specs)


def _stage(
    start: Start,
    kind: Kind,
    parent: Stage | None,
    by: Variant | None,
    how: Recipe | Budget,
    *,
    budget: Budget | None = None,
    retrain: Retrain = "finetune",
    snapshot: int | None = None,
    scratch_limit: float = 1.0,
) -> Stage:
    settings: dict[str, Any] = {
        "protocol": PROTOCOL,
        "kind": kind,
        "dataset": start.dataset,
        "model": start.model,
        "seed": start.seed,
        "parent": parent.id if parent else start.fingerprint,
        "how": how.model_dump(exclude_defaults=True),
        "method": _identity(by) if by else None,
    }
    # What most stages do not have is left out, so that their ids do not depend on it.
    if budget:
        settings["budget"] = budget.model_dump(exclude_defaults=True)
    if retrain != "finetune":
        settings["retrain"] = retrain
    if snapshot is not None:
        settings["snapshot"] = snapshot
    if scratch_limit != 1:
        settings["scratch_limit"] = scratch_limit
    if start.weights:
        settings["start"] = start.weights.rsplit("/", 1)[-1]
    return Stage(
        kind=kind,
        id=_hash(settings),
        parent=parent,
        dataset=start.dataset,
        model=start.model,
        seed=start.seed,
        method=by.method if by else None,
        recipe=how if isinstance(how, Recipe) else None,
        budget=how if isinstance(how, Budget) else budget,
        retrain=retrain,
        snapshot=snapshot,
        scratch_limit=scratch_limit,
        start=start.weights,
    )


def _identity(variant: Variant) -> dict[str, Any]:
    defaults = variant.file.cls().settings
    settings = variant.method.settings
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    return {"name": variant.file.name, "file": variant.file.content, "settings": changed}


def _hash(settings: dict[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
