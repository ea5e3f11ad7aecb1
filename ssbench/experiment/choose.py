"""An experiment as the command line changes it: some methods, a trial in minutes, own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssbench.data.registry import DATASETS, FOLDER, located
from ssbench.errors import BadInputError, nearest
from ssbench.experiment.budget_spec import BudgetSpec
from ssbench.experiment.spec import Experiment, MethodSpec
from ssbench.experiment.variant import Variant
from ssbench.pruning.budget import FLOOR

SUFFIX = "-smoke"
"""The end of the name of an experiment's trial: its results have a folder of their own."""


def only(chosen: Sequence[Variant], names: Sequence[str], source: str) -> list[Variant]:
    """Return the variants with one of these names of methods or labels; all without names.

    Chooses among labelled variants, as labels depend on all methods of the experiment.

    Raises:
        BadInputError: a name that no variant has.
    """
    if not names:
        return list(chosen)
    known = [name for each in chosen for name in (each.file.name, each.label)]
    for name in names:
        if name not in known:
            raise BadInputError(
                f"--only {name}: {source} has no such method; {nearest(name, known)}"
            )
    return [each for each in chosen if {each.file.name, each.label} & set(names)]


def smoke(experiment: Experiment) -> Experiment:
    """Return a trial of every row of an experiment: one seed, one epoch, one budget.

    Its name ends with `SUFFIX`, so that its results never mix with those of the experiment.
    """
    once = {"epochs": 1}
    methods = experiment.methods
    changes: dict[str, Any] = {
        "name": f"{experiment.name[: 100 - len(SUFFIX)]}{SUFFIX}",
        "title": f"Trial in one epoch, no results: {experiment.title}"[:500],
        "seeds": experiment.seeds[:1],
        "train": experiment.train.model_copy(update=once),
        "finetune": experiment.finetune.model_copy(update=once),
        "passes_epochs": "repeat",  # one epoch cannot be split
        "budget": _one(experiment.budget, FLOOR),
        "methods": methods if isinstance(methods, str) else [_tried(spec) for spec in methods],
    }
    return experiment.model_copy(update=changes)


def _tried(spec: MethodSpec) -> MethodSpec:
    return spec.model_copy(update={"budget": _one(spec.budget, None)})


def _one(budget: BudgetSpec, floor: float | None) -> BudgetSpec:
    """Return the first share alone, with a floor in every layer."""
    kept, floors = budget.kept, budget.protection
    most = max(floors) if isinstance(floors, list) else floors
    most = floor if most is None else most
    changes = {
        "kept": kept[:1] if isinstance(kept, list) else kept,
        "protection": None if most is None else [most],
    }
    return budget.model_copy(update=changes)


def with_images(experiment: Experiment, file: Path | None, folder: Path) -> Experiment:
    """Return the experiment with the path of its images.

    Published weights need images of their size: small ones of a folder stay on disk by default,
    where they are prepared as the weights need.

    Args:
        experiment: its ``dataset`` may name a path relative to ``folder``.
        file: a Python file with the function that ``dataset`` names; None: it names no function.
        folder: of the experiment's file.

    Raises:
        BadInputError: there is a file, but ``dataset`` names no function.
    """
    name, data = experiment.dataset, experiment.data
    if file is None:
        if experiment.start == "published" and name.startswith(FOLDER) and data.size == "auto":
            memory = False if data.memory == "auto" else data.memory
            data = data.model_copy(update={"memory": memory})
        return experiment.model_copy(update={"dataset": located(name, folder), "data": data})
    if not name.isidentifier() or name in DATASETS:
        raise BadInputError(
            f"--data-file {file}: the experiment's dataset is {name!r}; name a function of the "
            "file there, or with --set dataset=FUNCTION"
        )
    return experiment.model_copy(update={"dataset": f"{file}:{name}"})
