"""The methods of an experiment, with every combination of hyper-parameters that it lists."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ssbench.errors import ANY_NUMBER, BadInputError, message, nearest, outside
from ssbench.experiment.labels import labelled
from ssbench.experiment.retraining import REWINDS, SCRATCH
from ssbench.experiment.size import refuse_too_many
from ssbench.experiment.spec import Experiment, MethodSpec
from ssbench.experiment.variant import Variant
from ssbench.method.contract import Method
from ssbench.method.registry import MethodFile, Registry, foreign_contained
from ssbench.pruning.budget import Budget, Scope


def variants(experiment: Experiment, registry: Registry, source: str) -> list[Variant]:
    """Expand the entries of ``methods`` and their sweeps into variants.

    Raises:
        BadInputError: an unknown method or hyper-parameter, a value that does not fit, or
            an empty sweep; names ``source`` and the key.
    """
    if isinstance(experiment.methods, str):
        for name in registry.broken:
            registry.method(name, f"{source}: methods")
        specs = [MethodSpec(name=name) for name in registry.methods]
    else:
        specs = experiment.methods
    _refuse_two_shares(specs, experiment, source)
    refuse_too_many(specs, experiment, source)
    with foreign_contained(registry.methods.get(spec.name) for spec in specs):
        found = [
            variant
            for index, spec in enumerate(specs)
            for variant in _expand(spec, experiment, registry, (source, f"methods.{index}"))
        ]
        return labelled(found)


def _refuse_two_shares(specs: Sequence[MethodSpec], experiment: Experiment, source: str) -> None:
    """Refuse methods that name shares to keep while the experiment lists the share of each pass.

    Raises:
        BadInputError: names the key, the conflict and the remedy.
    """
    passes = experiment.budget.passes
    for index, spec in enumerate(specs):
        own = spec.budget
        if isinstance(passes, list) and own.passes is None and own.kept not in (None, passes[-1:]):
            raise BadInputError(
                f"{source}: methods.{index}.budget.kept: the experiment's budget.passes ends at "
                f"{passes[-1]}; remove kept, or give the method passes of its own"
            )


def _expand(
    spec: MethodSpec, experiment: Experiment, registry: Registry, place: tuple[str, str]
) -> Iterator[Variant]:
    """Make one variant for each combination of the listed hyper-parameters."""
    source, key = place
    file = registry.method(spec.name, f"{source}: {key}.name")
    names = {f.name.rstrip("_"): f for f in fields(file.cls)}
    choices = []
    for name, value in spec.settings.items():
        if name not in names:
            raise BadInputError(
                f"{source}: {key}.{name}: unknown key for {file.name}; "
                f"{nearest(name, [*names, *MethodSpec.model_fields])}"
            )
        if value == []:
            raise BadInputError(f"{source}: {key}.{name}: empty sweep; name at least one value")
        choices.append([(name, item) for item in (value if isinstance(value, list) else [value])])
    models = _models(spec, experiment, f"{source}: {key}.models")
    if not spec.retrainings:
        raise BadInputError(f"{source}: {key}.retrain: empty sweep; name at least one value")
    for combination in itertools.product(*choices):
        method = make_method(file, dict(combination), f"{source}: {key}")
        if method.scope not in get_args(Scope):
            allowed = " or ".join(map(repr, get_args(Scope)))
            raise BadInputError(f"{file.path.name}: scope is {method.scope!r}; write {allowed}")
        budgets = spec.budget.expand(experiment.budget, method.scope)
        own: list[Budget | None] = [None] if method.grain == "none" else [*budgets]
        for retrain in spec.retrainings:
            where = f"{key} ({file.name})"
            variant = Variant(
                file, method, spec.label or "", own, where, retrain, models, spec.finetune_lr
            )
            _refuse(variant, f"{source}: {key}")
            _refuse_no_epochs(variant, experiment, f"{source}: {key}")
            _refuse_split(variant, experiment, f"{source}: {key}")
            yield variant


def _models(spec: MethodSpec, experiment: Experiment, place: str) -> list[str]:
    known = experiment.networks
    if spec.models is None:
        return [each.label for each in known]
    chosen: list[str] = []
    for name in spec.models:
        meant = [each.label for each in known if name in (each.label, each.short, each.name)]
        if not meant:
            names = [each.label for each in known]
            raise BadInputError(f"{place}: {name!r}; {nearest(name, names)}")
        chosen += meant
    if not chosen:
        raise BadInputError(f"{place}: empty; name at least one of the experiment's models")
    return chosen


def _refuse(variant: Variant, place: str) -> None:
    """Refuse settings that have no meaning for a method.

    Raises:
        BadInputError: names the key, the conflict and the remedy.
    """
    name, retrain = variant.file.name, variant.retrain
    passes = max(budget.passes if budget else 1 for budget in variant.budgets)
    if variant.method.grain == "none" and retrain not in ("finetune", "scratch-e"):
        raise BadInputError(
            f"{place}.retrain: {name} prunes nothing; only 'finetune' and 'scratch-e' (one "
            f"training for all epochs) fit it, not {retrain!r}"
        )
    if variant.method.before_training and retrain in REWINDS:
        raise BadInputError(
            f"{place}.retrain: {name} prunes before training, so {retrain!r} has nothing to rewind "
            "to; remove it"
        )
    if variant.method.before_training and passes > 1:
        raise BadInputError(
            f"{place}.budget.passes: {name} prunes before training; passes must be 1"
        )
    if variant.finetune_lr is not None and not variant.finetunes:
        why = "prunes before training" if variant.method.before_training else f"has {retrain!r}"
        raise BadInputError(
            f"{place}.finetune_lr: {name} {why} and trains only by the recipe 'train'; remove it"
        )
    if variant.prunes_in_training and any(b and b.kept == "own" for b in variant.budgets):
        raise BadInputError(
            f"{place}.budget.kept: {name} prunes while it trains and needs a share, not 'own'"
        )


def _refuse_no_epochs(variant: Variant, experiment: Experiment, place: str) -> None:
    """Refuse retrainings that need a training, if the experiment trains for no epoch.

    Raises:
        BadInputError: names the key, the conflict and the remedy.
    """
    retrain, epochs = variant.retrain, experiment.train.epochs
    if retrain in REWINDS and not epochs:
        raise BadInputError(
            f"{place}.retrain: {retrain!r} rewinds to an epoch of 'train', which has none; "
            "write 'finetune', or give train epochs"
        )
    if retrain in SCRATCH and not epochs + experiment.finetune.epochs:
        raise BadInputError(
            f"{place}.retrain: {retrain!r} trains random weights for all epochs, of which there "
            "are none; write 'finetune', or give train or finetune epochs"
        )


def _refuse_split(variant: Variant, experiment: Experiment, place: str) -> None:
    """Refuse passes that cannot divide the epochs.

    Raises:
        BadInputError: names the key, the conflict and the remedy.
    """
    passes = max(budget.passes if budget else 1 for budget in variant.budgets)
    if experiment.passes_epochs == "repeat" or passes == 1:
        return
    if variant.retrain in REWINDS:
        raise BadInputError(
            f"{place}.retrain: {variant.retrain!r} in {passes} passes rewinds to the same epoch "
            "each time, so epochs cannot be split; write passes_epochs = 'repeat'"
        )
    which = "train" if variant.method.changes_training() else "finetune"
    recipe = experiment.train if which == "train" else experiment.finetune
    if recipe.epochs < passes:
        raise BadInputError(
            f"{place}.budget.passes: {passes} passes cannot divide the {recipe.epochs} epochs of "
            f"{which!r}; give it more epochs or fewer passes"
        )


def make_method(file: MethodFile, settings: Mapping[str, Any], place: str) -> Method:
    """Make a method from its hyper-parameters, by their public names.

    Raises:
        BadInputError: a value that does not fit; names ``place`` and the key.
    """
    checked = {}
    for name, value in settings.items():
        field, kind = _kind(file.cls, name)
        try:
            checked[field] = kind.validate_python(value, strict=True)
        except ValidationError as error:
            found = message(error.errors(include_url=False)[0])
            raise BadInputError(f"{place}.{name}: {found} (found {value!r})") from error
        if wrong := outside(value, file.cls.limits.get(name, ANY_NUMBER)):
            raise BadInputError(f"{place}.{name}: {wrong} (found {value!r})")
    try:
        return file.cls(**checked)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{place} ({file.name}): {error}") from error


@cache
def _kind(cls: type[Method], name: str) -> tuple[str, TypeAdapter[Any]]:
    """Return the field of a hyper-parameter, by public name, and the check of its values."""
    field = next(f.name for f in fields(cls) if f.name.rstrip("_") == name)
    return field, TypeAdapter(get_type_hints(cls)[field])
