"""An experiment as runs, each a chain of stages; shared beginnings are the same stage.

train (seed 0, plain) -+- prune (magnitude, 50 %) - finetune
                       +- prune (magnitude, 20 %) - finetune

With several passes, train and prune are repeated before the finetuning.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from ssbench.errors import BadInputError
from ssbench.experiment import Experiment
from ssbench.method import Method
from ssbench.recipe import Recipe
from ssbench.registry import MODELS, MethodFile, Registry, look_up
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

    @property
    def epochs(self) -> int:
        """The epochs of this stage alone."""
        return self.recipe.epochs if self.recipe else 0

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
    for index, model in enumerate(experiment.models):
        look_up(MODELS, model, "model", f"{source}: models.{index}")
    chosen = variants(experiment, registry, source)
    runs: dict[str, tuple[Run, str]] = {}
    for model, seed, variant in itertools.product(experiment.models, experiment.seeds, chosen):
        for budget in variant.budgets:
            start = Start(experiment.dataset, fingerprint, model, seed)
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
    parts = [last.dataset, last.model, variant.file.name, *kept, f"seed{last.seed}", last.id[:8]]
    return Run(
        id="-".join(parts),
        experiment=experiment.name,
        file=variant.file,
        method=variant.method,
        label=variant.label,
        budget=budget,
        stage=last,
    )


def _chain(experiment: Experiment, variant: Variant, budget: Budget | None, start: Start) -> Stage:
    own = variant if variant.method.changes_training() else None
    last = _stage(start, "train", None, own, experiment.train)
    if budget is not None:
        last = _stage(start, "prune", last, variant, budget.at(1))
        for number in range(2, budget.passes + 1):
            # Sparse training starts again on what is left; a method that only scores is finetuned.
            again = experiment.train if own else experiment.finetune
            last = _stage(start, "train", last, own, again)
            last = _stage(start, "prune", last, variant, budget.at(number))
    return _stage(start, "finetune", last, None, experiment.finetune)


def _stage(
    start: Start, kind: Kind, parent: Stage | None, by: Variant | None, how: Recipe | Budget
) -> Stage:
    settings = {
        "protocol": PROTOCOL,
        "kind": kind,
        "dataset": start.dataset,
        "model": start.model,
        "seed": start.seed,
        "parent": parent.id if parent else start.fingerprint,
        "how": how.model_dump(exclude_defaults=True),
        "method": _identity(by) if by else None,
    }
    return Stage(
        kind=kind,
        id=_hash(settings),
        parent=parent,
        dataset=start.dataset,
        model=start.model,
        seed=start.seed,
        method=by.method if by else None,
        recipe=how if isinstance(how, Recipe) else None,
        budget=how if isinstance(how, Budget) else None,
    )


def _identity(variant: Variant) -> dict[str, Any]:
    defaults = variant.file.cls().settings
    settings = variant.method.settings
    changed = {name: value for name, value in settings.items() if value != defaults[name]}
    return {"name": variant.file.name, "file": variant.file.content, "settings": changed}


def _hash(settings: dict[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
