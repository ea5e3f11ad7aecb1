"""A stage: one step of a run, named by everything that can change its result; and runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal

from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.experiment.retraining import Retrain
from ssbench.experiment.variant import Variant
from ssbench.method.contract import Method
from ssbench.method.registry import MethodFile, is_ours
from ssbench.models.architecture import Architecture
from ssbench.models.registry import attends_by_function, upsamples
from ssbench.models.weights import identity
from ssbench.pruning.budget import Budget
from ssbench.training.recipe import Recipe

PROTOCOL = 2
"""Increased when a change of ssbench changes results; part of every stage's id."""

SURGERY = 2
"""Increased when surgery changes what some networks keep; only part of the ids of their pruned
stages. 2: batch norms and linear layers select channels, groups keep as many as the fullest,
activations inside batch norms are known, and budgets of whole filters are met after surgery.
Networks that enlarge maps have one more: their channels are followed through it."""
_CUT_OTHERWISE = frozenset({"densenet40", "lenet5", "resnet164", "shufflenet-v2", "wrn28-10"})
"""The networks that changed; others of torchvision and timm may have, too."""

LAYERS = 2
"""Increased when more weights of some networks count as prunable; part of the ids of their stages.
2: linear layers of an attention that a function computes."""

Kind = Literal["train", "prune", "finetune"]


@dataclass(frozen=True)
class Stage:
    """One step of a run; ``id`` is a hash of everything that can change its result.

    Attributes:
        method: None in a training that no method changes.
        budget: of a pruning, or of a training during which the method prunes.
        retrain: how a training after pruning starts.
        snapshot: the epoch of a first training whose weights are kept to rewind to.
        scratch_limit: the largest factor by which scratch-b multiplies the epochs of ``recipe``.
        architecture: what builds the network; ``model`` is its name in tables.
        start: the address of the run's first weights; empty: random ones.
        fingerprint: of the data set.
        preprocessing: of the images of a folder: that of the published weights.
        method_file: a hash of the file of ``method``.
        twin: the last stage of the same run without a floor; the same if the floor never acted.
        said: everything that ``id`` hashes, as JSON with placeholders for seed and parent.
        alike: a hash like ``id``, but equal for all seeds: only such runs may be averaged.
    """

    kind: Kind
    id: str
    parent: Stage | None
    dataset: str
    model: str
    seed: int
    method: Method | None = field(repr=False)
    architecture: Architecture
    recipe: Recipe | None = None
    budget: Budget | None = None
    retrain: Retrain = "finetune"
    snapshot: int | None = None
    scratch_limit: float = 1.0
    start: str = ""
    fingerprint: str = ""
    preprocessing: Preprocessing = STANDARD
    method_file: str | None = None
    twin: Stage | None = field(default=None, repr=False, compare=False)
    said: str = field(default="", repr=False, compare=False)
    alike: str = field(default="", repr=False, compare=False)

    @property
    def epochs(self) -> int:
        """The epochs of this stage alone; with scratch-b the largest possible number."""
        return round(self.recipe.epochs * self.scratch_limit) if self.recipe else 0

    @property
    def epochs_total(self) -> int:
        """The epochs from the start of the run to the end of this stage."""
        return self.epochs + (self.parent.epochs_total if self.parent else 0)

    def chain(self) -> list[Stage]:
        """Return all stages from the first to this one."""
        return [*(self.parent.chain() if self.parent else []), self]

    @property
    def foreign_module(self) -> str:
        """The module of its or its parents' method that does not ship with ssbench; else empty.

        Includes finetunings: their parent may have to be computed again.
        """
        methods = [type(each.method) for each in self.chain() if each.method is not None]
        return next((cls.__module__ for cls in methods if not is_ours(cls)), "")


@dataclass(frozen=True)
class Run:
    """One cell of the experiment: (data set, model, method, budget, seed).

    Attributes:
        stage: the last stage; the others are its parents.
        tuning: how the hyper-parameters were tuned; None: they were not.
    """

    id: str
    experiment: str
    file: MethodFile
    method: Method
    label: str
    budget: Budget | None
    retrain: Retrain
    stage: Stage
    tuning: Mapping[str, Any] | None = None

    @property
    def stages(self) -> list[Stage]:
        """The stages in the order of execution."""
        return self.stage.chain()


@dataclass(frozen=True)
class Start:
    """The start of a chain of stages.

    Attributes:
        model: the network's name in tables.
        weights: their address; empty: random ones.
    """

    dataset: str
    fingerprint: str
    model: str
    seed: int
    architecture: Architecture
    weights: str = ""
    preprocessing: Preprocessing = STANDARD


def make_stage(
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
    """Make a stage and its id.

    Args:
        start: the start of its chain.
        kind: of the stage.
        parent: the stage before; None for the first one.
        by: the variant whose method changes the training, or scores; None: none.
        how: the recipe of a training, the budget of a pruning.
        budget: of a training during which the method prunes.
        retrain: as in `Stage`.
        snapshot: as in `Stage`.
        scratch_limit: as in `Stage`.
    """
    settings = {
        "protocol": _text(PROTOCOL),
        "kind": _text(kind),
        "dataset": _text(start.dataset),
        "model": _text(str(start.architecture)),
        "seed": _SEED,
        "parent": _PARENT,
        "how": _changed(how),
        "method": by.identity if by else "null",
    }
    # Leave out what most stages do not have, so that their ids do not depend on it.
    if budget:
        settings["budget"] = _changed(budget)
    if retrain != "finetune":
        settings["retrain"] = _text(retrain)
    if snapshot is not None:
        settings["snapshot"] = _text(snapshot)
    if scratch_limit != 1:
        settings["scratch_limit"] = _text(scratch_limit)
    name, code = start.architecture.name, start.architecture.code
    if (kind == "prune" or budget) and (name in _CUT_OTHERWISE or ":" in name):
        settings["surgery"] = _text(SURGERY + upsamples(name))
    if attends_by_function(name):
        settings["layers"] = _text(LAYERS)
    if code:
        settings["model_file"] = _text(code.content)
    if start.weights:
        settings["start"] = _text(identity(start.weights))
    if start.preprocessing != STANDARD:
        settings["preprocessing"] = json.dumps(start.preprocessing.identity(), sort_keys=True)
    said = "{" + ", ".join([f'"{key}": {settings[key]}' for key in sorted(settings)]) + "}"
    above = parent.alike if parent else start.fingerprint
    return Stage(
        kind=kind,
        id=_id(said, start.seed, parent.id if parent else start.fingerprint),
        parent=parent,
        dataset=start.dataset,
        model=start.model,
        seed=start.seed,
        method=by.method if by else None,
        architecture=start.architecture,
        recipe=how if isinstance(how, Recipe) else None,
        budget=how if isinstance(how, Budget) else budget,
        retrain=retrain,
        snapshot=snapshot,
        scratch_limit=scratch_limit,
        start=start.weights,
        fingerprint=start.fingerprint,
        preprocessing=start.preprocessing,
        method_file=by.file.content if by else None,
        said=said,
        alike=_id(said, "any", above),
    )


Known = dict[tuple[str, int], Stage]
"""Stages for other seeds, by a stage's id and a seed."""


def at_seed(stage: Stage, seed: int, known: Known) -> Stage:
    """Return the same stage for another seed; reuses ``known`` stages."""
    if seed == stage.seed:
        return stage
    found = known.get((stage.id, seed))
    if found is None:
        parent = at_seed(stage.parent, seed, known) if stage.parent else None
        twin = at_seed(stage.twin, seed, known) if stage.twin else None
        stage_id = _id(stage.said, seed, parent.id if parent else stage.fingerprint)
        # Twice as fast as dataclasses.replace; plans have hundreds of thousands of stages.
        found = known[stage.id, seed] = object.__new__(Stage)
        vars(found).update(vars(stage), id=stage_id, parent=parent, seed=seed, twin=twin)
    return found


@cache
def _changed(how: Recipe | Budget) -> str:
    """Return the non-default values as JSON."""
    return json.dumps(how.model_dump(exclude_defaults=True), sort_keys=True)


@lru_cache(typed=True)  # 2 and 2.0 are different texts
def _text(value: str | float) -> str:
    return json.dumps(value)


_SEED, _PARENT = json.dumps("\0seed"), json.dumps("\0parent")
"""Placeholders for what differs from seed to seed; no setting can contain them."""


def _id(said: str, seed: int | Literal["any"], parent: str) -> str:
    text = said.replace(_SEED, str(seed)).replace(_PARENT, f'"{parent}"')
    return hashlib.sha256(text.encode()).hexdigest()[:24]
