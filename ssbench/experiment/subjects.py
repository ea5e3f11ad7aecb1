"""Tuning subjects: each method of an experiment on each of its networks, with its search space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ssbench.errors import BadInputError
from ssbench.experiment.spec import Experiment
from ssbench.experiment.variant import Variant
from ssbench.experiment.variants import make_method
from ssbench.method.search_space import Choice, Search, Space, Value, described
from ssbench.pruning.budget import Budget

FINETUNE_LR = "finetune_lr"
"""Can be tuned for every finetuned method; see `ssbench.experiment.spec.TuneSpec`."""
_KIND = ("unit", "scope", "protection", "passes")
"""The budget settings that distinguish two entries of an experiment; shares do not."""


@dataclass(frozen=True)
class Subject:
    """One method on one network; its hyper-parameters are chosen together.

    Attributes:
        variant: the method as the experiment defines it, on this network alone.
        space: the hyper-parameters and their values; empty if there is nothing to tune.
        first: the values of the first trial: the experiment's, or else the method's defaults.
    """

    model: str
    variant: Variant
    space: Space
    first: Mapping[str, Value]

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.variant.label} on {self.model}"

    @property
    def key(self) -> dict[str, Any]:
        """Everything that tuning does not choose, as JSON values; identifies the subject."""
        settings = self.variant.method.settings | {FINETUNE_LR: self.variant.finetune_lr}
        budget = self.variant.budgets[0]
        return {
            "model": self.model,
            "method": self.variant.file.name,
            "retrain": self.variant.retrain,
            "settings": {name: v for name, v in settings.items() if name not in self.space},
            "budget": _kind(budget) if budget else None,
        }

    def choose(self, parameters: Mapping[str, Value], place: str) -> Variant:
        """Return the variant with these values.

        Raises:
            BadInputError: the method rejects them; names ``place``.
        """
        own = {name: value for name, value in parameters.items() if name != FINETUNE_LR}
        settings = self.variant.method.settings | own
        method = make_method(self.variant.file, settings, place)
        rate = parameters.get(FINETUNE_LR, self.variant.finetune_lr)
        if rate is not None and (not isinstance(rate, int | float) or not rate > 0):
            raise BadInputError(f"{place}.{FINETUNE_LR}: must be a number over 0 (found {rate!r})")
        return replace(self.variant, method=method, finetune_lr=rate)


def _kind(budget: Budget) -> dict[str, Any]:
    schedule = {"schedule": list(budget.schedule)} if budget.schedule else {}
    return {name: getattr(budget, name) for name in _KIND} | schedule


def subjects(experiment: Experiment, chosen: Sequence[Variant], source: str) -> list[Subject]:
    """List the subjects of an experiment, including those with nothing to tune.

    Raises:
        BadInputError: an entry lists several values of a tuned hyper-parameter, or its learning
            rate is not in the grid; names ``source`` and the key.
    """
    result: list[Subject] = []
    for subject in _all(experiment, chosen, source):
        if any(other.key == subject.key for other in result):
            raise BadInputError(
                f"{source}: {subject.variant.place}: several values of what tuning chooses "
                f"({', '.join(subject.space)}); give one, for the first trial, or none"
            )
        result.append(subject)
    return result


def _all(experiment: Experiment, chosen: Sequence[Variant], source: str) -> Iterator[Subject]:
    for model in experiment.model_names:
        for variant in chosen:
            if model not in variant.models:
                continue
            space: dict[str, Search] = dict(variant.file.cls.search)
            first = {name: variant.method.settings[name] for name in space}
            rates = experiment.tune.finetune_lr
            if rates and variant.finetunes:
                space[FINETUNE_LR] = Choice(tuple(rates))
                first[FINETUNE_LR] = variant.finetune_lr or experiment.finetune.lr
                if first[FINETUNE_LR] not in rates:
                    raise BadInputError(
                        f"{source}: tune.finetune_lr: {first[FINETUNE_LR]}, which "
                        f"{variant.place} has without tuning, is not in it; add it"
                    )
            yield Subject(model, replace(variant, models=[model]), space, first)


def spaces(subject: Subject) -> str:
    """Describe the search space of a subject in one line."""
    return "; ".join(f"{name}: {words}" for name, words in described(subject.space).items())
