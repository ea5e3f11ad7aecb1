"""The outcome of a tuning as a file, and an experiment's methods with the values it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.errors import BadInputError, wrong
from ssbench.experiment.spec import Experiment
from ssbench.experiment.subjects import Subject, spaces, subjects
from ssbench.experiment.variants import Variant
from ssbench.method.search_space import Value, identity
from ssbench.storage.results import differences

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Entry(BaseModel):
    """What was chosen for one method on one network.

    Attributes:
        key: what it is recognised by; see `ssbench.experiment.subjects.Subject.key`.
        parameters: the values chosen.
        trial: the number of the trial that had them.
        trials: how many were made; ``distinct``: how many of them differ (a finite space may have
            fewer values); ``failed``: how many failed.
        kept: the shares over which each trial's error is the mean.
        validation_top1_error: of the chosen trial, percent.
        first_validation_top1_error: of the first one; None where it failed.
        space: among what was chosen, in words; ``space_id``: its hash.
    """

    model_config = _STRICT

    label: str
    key: dict[str, Any]
    parameters: dict[str, Value]
    trial: int
    trials: int
    distinct: int
    failed: int
    kept: list[float | str]
    validation_top1_error: float
    first_validation_top1_error: float | None
    space: dict[str, str]
    space_id: str


class Tuned(BaseModel):
    """The outcome of ``ssbench tune``."""

    model_config = _STRICT

    format: Literal[1] = 1
    experiment: str
    recipe: dict[str, Any]
    """What the experiment's trainings were: `Experiment.manifest` without its name."""
    seeds: list[int] = Field(min_length=1)
    trials: int
    methods: list[Entry]

    @property
    def id(self) -> str:
        """A hash of all of it, as hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def recipe(experiment: Experiment) -> dict[str, Any]:
    """What an experiment must have in common with the one that was tuned."""
    return {key: value for key, value in experiment.manifest.items() if key != "name"}


def load(path: Path) -> Tuned:
    """Read the outcome of a tuning.

    Raises:
        BadInputError: there is none in this file.
    """
    try:
        return Tuned.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"--tuned {path}: cannot be read ({error}); name the tuned.json that ssbench tune wrote"
        ) from error
    except ValidationError as error:
        raise BadInputError(
            f"--tuned {path}: not an outcome of ssbench tune ({wrong(error)}); tune again"
        ) from error


def apply(
    tuned: Tuned, experiment: Experiment, chosen: Sequence[Variant], source: str
) -> list[Variant]:
    """Give the methods of an experiment the values that were chosen for them.

    What has nothing to tune stays as it is, and its records say so.

    Raises:
        BadInputError: the tuning was another experiment's, its seeds are the experiment's too, or
            it lacks a method; names ``source``.
    """
    different = differences(tuned.recipe, recipe(experiment))
    if different:
        raise BadInputError(
            f"{source}: --tuned holds what was chosen for another experiment "
            f"({'; '.join(different)}); tune this one"
        )
    shared = sorted(set(tuned.seeds) & set(experiment.seeds))
    if shared:
        raise BadInputError(
            f"{source}: seeds: {shared[0]} was tuned on, so that its results are no longer "
            "independent of the choice; take it out"
        )
    return [_apply(tuned, subject, source) for subject in subjects(experiment, chosen, source)]


def _apply(tuned: Tuned, subject: Subject, source: str) -> Variant:
    if not subject.space:
        return subject.variant
    found = next((entry for entry in tuned.methods if entry.key == subject.key), None)
    if (
        found is None
        or found.space_id != identity(subject.space)
        or found.parameters.keys() != subject.space.keys()
    ):
        raise BadInputError(
            f"{source}: {subject.variant.place}: --tuned holds no {subject.name}, chosen among "
            f"{spaces(subject)}; tune the experiment as it is now, or take the method out"
        )
    variant = subject.choose(found.parameters, f"--tuned: methods: {subject.name}")
    return replace(variant, tuning=said(found, tuned.seeds))


def said(entry: Entry, seeds: list[int]) -> dict[str, Any]:
    """What a record says of the tuning of its method."""
    return {
        "trials": entry.trials,
        "distinct": entry.distinct,
        "failed": entry.failed,
        "seeds": seeds,
        "kept": entry.kept,
        "space": entry.space,
        "space_id": entry.space_id,
        "chosen": entry.parameters,
    }
