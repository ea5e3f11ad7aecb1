"""A stage: one step of a run, named by all that can change its result; and runs made of stages."""

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
from ssbench.method.registry import MethodFile
from ssbench.pruning.budget import Budget
from ssbench.training.recipe import Recipe

PROTOCOL = 2
"""Raised when a change of the harness changes results; part of every stage's id."""

SURGERY = 2
"""Raised when a change of surgery changes what some networks keep; part of the ids of their pruned
stages alone. 2: batch norms and linear layers select channels, groups keep as many as the fullest,
activations inside batch norms are known, and budgets of whole filters are met after surgery."""
_CUT_OTHERWISE = frozenset({"densenet40", "lenet5", "resnet164", "shufflenet-v2", "wrn28-10"})
"""The networks that this concerned; others of torchvision and timm may be concerned as well."""

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
    fingerprint: str = ""
    """Of the data set."""
    preprocessing: Preprocessing = STANDARD
    """Of the images of a folder: that of the published weights."""
    method_file: str | None = None
    """A hash of the file of ``method``."""
    twin: Stage | None = field(default=None, repr=False, compare=False)
    """The last stage of the same run without a floor: where that never acted, the two are one."""
    said: str = field(default="", repr=False, compare=False)
    """All that ``id`` is made of, as JSON in which seed and parent are left open."""
    alike: str = field(default="", repr=False, compare=False)
    """A hash like ``id``, but the same for every seed: only such runs may be averaged."""

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
        start: what its chain begins with.
        kind: what it does.
        parent: the stage before; None for the first one.
        by: whose method changes the training, or scores; None: none.
        how: the recipe of a training, the budget of a pruning.
        budget: of a training during which the method prunes.
        retrain: as in `Stage`, and so are the others.
        snapshot: see there.
        scratch_limit: see there.
    """
    settings = {
        "protocol": _text(PROTOCOL),
        "kind": _text(kind),
        "dataset": _text(start.dataset),
        "model": _text(start.model),
        "seed": _SEED,
        "parent": _PARENT,
        "how": _changed(how),
        "method": by.identity if by else "null",
    }
    # What most stages do not have is left out, so that their ids do not depend on it.
    if budget:
        settings["budget"] = _changed(budget)
    if retrain != "finetune":
        settings["retrain"] = _text(retrain)
    if snapshot is not None:
        settings["snapshot"] = _text(snapshot)
    if scratch_limit != 1:
        settings["scratch_limit"] = _text(scratch_limit)
    if (kind == "prune" or budget) and (start.model in _CUT_OTHERWISE or ":" in start.model):
        settings["surgery"] = _text(SURGERY)
    if start.weights:
        settings["start"] = _text(start.weights.rsplit("/", 1)[-1])
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
"""By the id of a stage and a seed, the same stage for that seed."""


def at_seed(stage: Stage, seed: int, known: Known) -> Stage:
    """The same stage for another seed; one that is ``known`` already is shared."""
    if seed == stage.seed:
        return stage
    found = known.get((stage.id, seed))
    if found is None:
        parent = at_seed(stage.parent, seed, known) if stage.parent else None
        twin = at_seed(stage.twin, seed, known) if stage.twin else None
        stage_id = _id(stage.said, seed, parent.id if parent else stage.fingerprint)
        # Half the time that dataclasses.replace takes; plans have hundreds of thousands of stages.
        found = known[stage.id, seed] = object.__new__(Stage)
        vars(found).update(vars(stage), id=stage_id, parent=parent, seed=seed, twin=twin)
    return found


@cache
def _changed(how: Recipe | Budget) -> str:
    """What differs from the defaults, as JSON."""
    return json.dumps(how.model_dump(exclude_defaults=True), sort_keys=True)


@lru_cache(typed=True)  # 2 and 2.0 are not the same text
def _text(value: str | float) -> str:
    return json.dumps(value)


_SEED, _PARENT = json.dumps("\0seed"), json.dumps("\0parent")
"""Stand for what differs from seed to seed; no setting can contain them."""


def _id(said: str, seed: int | Literal["any"], parent: str) -> str:
    text = said.replace(_SEED, str(seed)).replace(_PARENT, f'"{parent}"')
    return hashlib.sha256(text.encode()).hexdigest()[:24]
