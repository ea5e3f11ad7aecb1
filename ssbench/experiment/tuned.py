"""The outcome of a tuning as a file, and its application to an experiment's methods."""

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
from ssbench.experiment.variant import Variant
from ssbench.method.search_space import Value, identity
from ssbench.storage.results import differences

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Entry(BaseModel):
    """The choice for one method on one network.

    Attributes:
        key: its identity; see `ssbench.experiment.subjects.Subject.key`.
        parameters: the chosen values.
        trial: the number of the chosen trial.
        trials: number of trials; ``distinct``: number of different ones (a finite space may have
            fewer values); ``failed``: number of failed ones.
        kept: the shares over which a trial's error is the mean.
        validation_top1_error: of the chosen trial, percent.
        first_validation_top1_error: of the first trial; None if it failed.
        space: the values to choose from, in words; ``space_id``: its hash.
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
    """The outcome of ``ssbench tune``.

    Attributes:
        recipe: the settings of the tuned experiment: `Experiment.manifest` without its name.
    """

    model_config = _STRICT

    format: Literal[1] = 1
    experiment: str
    recipe: dict[str, Any]
    seeds: list[int] = Field(min_length=1)
    trials: int
    methods: list[Entry]

    @property
    def id(self) -> str:
        """A hash of everything, as hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def recipe(experiment: Experiment) -> dict[str, Any]:
    """Return what an experiment must share with the tuned one."""
    return {key: value for key, value in experiment.manifest.items() if key != "name"}


def load(path: Path) -> Tuned:
    """Read the outcome of a tuning.

    Raises:
        BadInputError: the file holds none.
    """
    try:
        return Tuned.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"--tuned {path}: cannot be read ({error}); give the tuned.json of ssbench tune"
        ) from error
    except ValidationError as error:
        raise BadInputError(
            f"--tuned {path}: not an outcome of ssbench tune ({wrong(error)}); tune again"
        ) from error


def apply(
    tuned: Tuned, experiment: Experiment, chosen: Sequence[Variant], source: str
) -> list[Variant]:
    """Give the methods of an experiment their tuned values.

    A method with nothing to tune stays unchanged, and its records say so.

    Raises:
        BadInputError: another experiment was tuned, it shares seeds with this one, or it lacks a
            method; names ``source``.
    """
    different = differences(tuned.recipe, recipe(experiment))
    if different:
        raise BadInputError(
            f"{source}: --tuned holds the tuning of another experiment "
            f"({'; '.join(different)}); tune this one"
        )
    shared = sorted(set(tuned.seeds) & set(experiment.seeds))
    if shared:
        raise BadInputError(
            f"{source}: seeds: {shared[0]} was used for tuning, so its results are not independent "
            "of the choice; remove it"
        )
    return [_apply(tuned, subject, source) for subject in subjects(experiment, chosen, source)]


def _apply(tuned: Tuned, subject: Subject, source: str) -> Variant:
    if not subject.space:
        return subject.variant
    entry = next((each for each in tuned.methods if each.key == subject.key), None)
    if (
        entry is None
        or entry.space_id != identity(subject.space)
        or entry.parameters.keys() != subject.space.keys()
    ):
        raise BadInputError(
            f"{source}: {subject.variant.place}: --tuned holds no {subject.name} with the space "
            f"{spaces(subject)}; tune the experiment again, or remove the method"
        )
    variant = subject.choose(entry.parameters, f"--tuned: methods: {subject.name}")
    return replace(variant, tuning=said(entry, tuned.seeds))


def said(entry: Entry, seeds: list[int]) -> dict[str, Any]:
    """Return what a record says about the tuning of its method."""
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
