"""One method with one choice of hyper-parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from ssbench.experiment.retraining import Retrain
from ssbench.method.contract import Method, wants
from ssbench.method.registry import MethodFile
from ssbench.pruning.budget import Budget


@dataclass(frozen=True)
class Variant:
    """One method with one choice of hyper-parameters, and its budgets (None: not pruned).

    Attributes:
        finetune_lr: learning rate of the finetuning; None: the recipe's.
        tuning: how the hyper-parameters were tuned, for the record; None: they were not.
    """

    file: MethodFile
    method: Method
    label: str
    budgets: list[Budget | None]
    place: str
    retrain: Retrain
    models: list[str]
    finetune_lr: float | None = None
    tuning: Mapping[str, Any] | None = None

    @property
    def finetunes(self) -> bool:
        """Whether the variant uses the recipe ``finetune``."""
        return self.retrain == "finetune" and not self.method.before_training

    @cached_property
    def identity(self) -> str:
        """Everything of the method that can change a result, as JSON for stage ids."""
        defaults = _defaults(self.file.cls)
        settings = self.method.settings
        changed = {name: value for name, value in settings.items() if value != defaults[name]}
        content = {"name": self.file.name, "file": self.file.content, "settings": changed}
        return json.dumps(content, sort_keys=True)

    @cached_property
    def bare(self) -> dict[int, int]:
        """Map each budget with a floor to the same budget without one, if listed before; by index.

        Compares fields of budgets, as hashing a hundred thousand budgets takes a second.
        """
        places: dict[tuple[Any, ...], int] = {}
        bare = {}
        for place, budget in enumerate(self.budgets):
            if budget is None:
                continue
            key = (budget.unit, budget.kept, budget.scope, budget.passes, budget.schedule)
            if not budget.protection:
                places[key] = place
            elif key in places:
                bare[place] = places[key]
        return bare

    def competing(self) -> Variant:
        """Return the variant without budgets that it also has with a floor; those compete."""
        hidden = set(self.bare.values())
        budgets = [each for place, each in enumerate(self.budgets) if place not in hidden]
        return replace(self, budgets=budgets)

    @property
    def prunes_in_training(self) -> bool:
        """Whether the training itself depends on the budget."""
        return wants(self.method.after_step, "pruning")


@cache
def _defaults(cls: type[Method]) -> dict[str, Any]:
    return cls().settings
