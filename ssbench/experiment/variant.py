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
    """One method with one choice of hyper-parameters, and its budgets (None: not pruned)."""

    file: MethodFile
    method: Method
    label: str
    budgets: list[Budget | None]
    place: str
    retrain: Retrain
    models: list[str]
    finetune_lr: float | None = None
    """The learning rate of the finetuning; None: the recipe's."""
    tuning: Mapping[str, Any] | None = None
    """How its hyper-parameters were tuned, for the record; None: they were not."""

    @property
    def finetunes(self) -> bool:
        """Whether the recipe ``finetune`` plays a part."""
        return self.retrain == "finetune" and not self.method.before_training

    @cached_property
    def identity(self) -> str:
        """What the method's part in a result can depend on, as JSON: for the ids of stages."""
        defaults = _defaults(self.file.cls)
        settings = self.method.settings
        changed = {name: value for name, value in settings.items() if value != defaults[name]}
        said = {"name": self.file.name, "file": self.file.content, "settings": changed}
        return json.dumps(said, sort_keys=True)

    @cached_property
    def bare(self) -> dict[int, int]:
        """By place of a budget with a floor, that of the same one without, where it comes before.

        By the fields of budgets, as to hash a hundred thousand of them takes a second.
        """
        places: dict[tuple[Any, ...], int] = {}
        found = {}
        for place, budget in enumerate(self.budgets):
            if budget is None:
                continue
            key = (budget.unit, budget.kept, budget.scope, budget.passes)
            if not budget.protection:
                places[key] = place
            elif key in places:
                found[place] = places[key]
        return found

    def competing(self) -> Variant:
        """The same without the budgets that stand there with a floor too, which compete."""
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
