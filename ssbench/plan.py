"""An experiment as runs, each a chain of stages; shared beginnings are the same stage.

train (seed 0, plain) -+- prune (magnitude, 50 %) - finetune
                       +- prune (magnitude, 20 %) - finetune

With several passes, train and prune are repeated before the finetuning. A method that prunes before
training has no first training, and what follows its pruning takes all epochs.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from ssbench.errors import BadInputError
from ssbench.experiment import Experiment
from ssbench.method import Method
from ssbench.models import check, published_url
from ssbench.recipe import Recipe
from ssbench.registry import MethodFile, Registry
from ssbench.retraining import SCRATCH, Retrain, retraining, rewind_epoch, whole
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
    said: str = field(default="", repr=False, compare=False)
    """All that ``id`` is made of, as JSON in which seed and parent are left open."""

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
            stage = _at_seed(chains[key], seed, fingerprint, known)
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
        "seed": _SEED,
        "parent": _PARENT,
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
    said = json.dumps(settings, sort_keys=True)
    return Stage(
        kind=kind,
        id=_id(said, start.seed, parent.id if parent else start.fingerprint),
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
        said=said,
    )


def _at_seed(stage: Stage, seed: int, fingerprint: str, known: dict[str, Stage]) -> Stage:
    """The same stage for another seed; one that is ``known`` already is shared."""
    parent = _at_seed(stage.parent, seed, fingerprint, known) if stage.parent else None
    stage_id = _id(stage.said, seed, parent.id if parent else fingerprint)
    if stage_id not in known:
        known[stage_id] = replace(stage, id=stage_id, parent=parent, seed=seed)
    return known[stage_id]


def _identity(variant: Variant) -> dict[str, Any]:
    defaults = _defaults(variant.file.cls)
    settings = variant.method.settings
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    return {"name": variant.file.name, "file": variant.file.content, "settings": changed}


@cache
def _defaults(cls: type[Method]) -> dict[str, Any]:
    return cls().settings


_SEED, _PARENT = "\0seed", "\0parent"
"""Stand for what differs from seed to seed; no setting can contain them."""
_SEED_JSON, _PARENT_JSON = json.dumps(_SEED), json.dumps(_PARENT)


def _id(said: str, seed: int, parent: str) -> str:
    text = said.replace(_SEED_JSON, str(seed)).replace(_PARENT_JSON, f'"{parent}"')
    return hashlib.sha256(text.encode()).hexdigest()[:24]
