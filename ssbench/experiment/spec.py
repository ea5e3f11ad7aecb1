"""Read a file of bench/ as a validated, frozen `Experiment`.

>>> load(find("bench/quickstart.toml"), ["train.epochs=2"]).train.epochs
2
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from ssbench.data.own.settings import DataSettings, Scale
from ssbench.data.registry import dataset_name
from ssbench.errors import BadInputError, message, nearest, within
from ssbench.experiment.overrides import override
from ssbench.experiment.retraining import Retrain
from ssbench.paths import bench_folder
from ssbench.pruning.budget import FLOOR, Budget, Kept, Passes, Protection, Scope, Unit
from ssbench.storage.toml import read_toml, refuse_depth
from ssbench.training.recipe import LearningRate, Recipe

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
Seed = Annotated[int, within(-(2**63), 2**63 - 1, "a seed has 64 bits")]
Words = Annotated[str, Field(max_length=500)]


class BudgetSpec(BaseModel):
    """Budgets of an experiment, or one method's values instead of them.

    Attributes:
        scope: None: as the method's authors prune.
        protection: a number is for all rows. A list is for rows with one threshold for the whole
            network: each has one row per value; None: [0, `FLOOR`].
    """

    model_config = _STRICT

    unit: Unit | None = None
    kept: list[Kept] | Kept | None = None
    scope: Scope | None = None
    protection: list[Protection] | Protection | None = None
    passes: Passes | None = None

    @field_validator("kept")
    @classmethod
    def _shares(cls, kept: list[Kept] | Kept | None) -> list[Kept] | None:
        values = kept if isinstance(kept, list) else [] if kept is None else [kept]
        if kept == []:
            raise ValueError("empty sweep: name at least one share")
        for value in values:
            if value != "own" and not 0 < value <= 1:
                raise ValueError(f"{value} is outside (0, 1]")
        shares: dict[str, Kept] = {}
        for value in values:
            read = value if value == "own" else f"{100 * value:.4g} %"
            if read in shares:
                raise ValueError(f"{shares[read]} and {value} both read {read}; name each once")
            shares[read] = value
        return values or None

    @field_validator("protection")
    @classmethod
    def _floors(cls, protection: list[float] | float | None) -> list[float] | float | None:
        values = protection if isinstance(protection, list) else [protection or 0.0]
        if not values or len(set(values)) != len(values):
            raise ValueError("name at least one share, each once")
        for value in values:
            if not 0 <= value < 1:
                raise ValueError(f"{value} is outside [0, 1)")
        return protection

    def expand(self, common: BudgetSpec, scope: Scope = "global") -> list[Budget]:
        """List the budgets.

        Args:
            common: the experiment's budgets, for what this one leaves open.
            scope: the method's, if both leave it open.
        """
        given = common.model_dump(exclude_none=True) | self.model_dump(exclude_none=True)
        merged: dict[str, Any] = {"scope": scope} | given
        shares = merged.pop("kept", [0.5, 0.25, 0.125, 0.0625, 0.03125])
        floors = merged.pop("protection", [0.0, FLOOR])
        if not isinstance(floors, list):
            return [Budget(kept=share, protection=floors, **merged) for share in shares]
        budgets = []
        for number, floor in enumerate(floors):
            for share in shares:
                if merged["scope"] == "global" and share != "own":
                    budgets.append(Budget(kept=share, protection=floor, **merged))
                elif not number:  # no threshold of the whole network that could empty a layer
                    budgets.append(Budget(kept=share, **merged))
        return budgets


class MethodSpec(BaseModel):
    """One entry of ``methods``: a name, hyper-parameters (a list is a sweep), own budgets.

    Attributes:
        models: the experiment's networks that the method runs on; None: all.
        finetune_lr: learning rate of this method's finetuning; None: that of the recipe
            ``finetune``.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str
    label: Words | None = None
    budget: BudgetSpec = BudgetSpec()
    retrain: list[Retrain] | Retrain = "finetune"
    models: list[str] | None = None
    finetune_lr: LearningRate | None = None

    @property
    def retrainings(self) -> list[Retrain]:
        """The trainings after pruning, one run for each."""
        return self.retrain if isinstance(self.retrain, list) else [self.retrain]

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters as the file gives them."""
        return dict(self.model_extra or {})


class TuneSpec(BaseModel):
    """How ``ssbench tune`` chooses hyper-parameters, besides what the methods' files say.

    Attributes:
        seeds: None: one seed that the experiment does not have.
        finetune_lr: the grid of learning rates for every method's finetuning.
    """

    model_config = _STRICT

    seeds: list[Seed] | None = Field(default=None, min_length=1)
    finetune_lr: list[LearningRate] = []

    @field_validator("finetune_lr")
    @classmethod
    def _grid(cls, rates: list[float]) -> list[float]:
        if rates and (len(set(rates)) != len(rates) or len(rates) < 2):
            raise ValueError("name at least two learning rates, each once")
        return rates


class Experiment(BaseModel):
    """Everything that an experiment's results depend on, except the code.

    Attributes:
        data: how to prepare images of one's own.
        start: where trainings start: random weights, or those that torchvision publishes.
        scratch_limit: the largest factor by which the control scratch-b multiplies the epochs.
        passes_epochs: whether each of several passes takes all epochs again, or the passes divide
            them, so that such rows have no more epochs in total than others.
    """

    model_config = _STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    title: Words = ""
    dataset: str
    data: DataSettings = DataSettings()
    models: list[str] = Field(min_length=1)
    methods: list[MethodSpec] | Literal["all"]
    budget: BudgetSpec = BudgetSpec()
    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1)
    start: Literal["random", "published"] = "random"
    train: Recipe = Recipe()
    finetune: Recipe = Recipe()
    scratch_limit: Annotated[
        float, within(1, 100, "it multiplies the epochs, and shortens no training")
    ] = 2.0
    passes_epochs: Literal["repeat", "split"] = "repeat"
    tune: TuneSpec = TuneSpec()

    @field_validator("methods")
    @classmethod
    def _some(cls, methods: list[MethodSpec] | str) -> list[MethodSpec] | str:
        if not methods:
            raise ValueError("empty sweep: name at least one method, or write methods = 'all'")
        return methods

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: list[Seed]) -> list[Seed]:
        twice = [seed for seed in set(seeds) if seeds.count(seed) > 1]
        if twice:
            raise ValueError(f"names the seed {twice[0]} twice; name each once")
        return seeds

    @property
    def manifest(self) -> dict[str, Any]:
        """The settings that all records of one results folder must share to be comparable."""
        return {
            "name": self.name,
            "dataset": dataset_name(self.dataset),
            "start": "" if self.start == "random" else self.start,
            "train": self.train.manifest(),
            "finetune": self.finetune.manifest(),
        }


def shipped() -> dict[str, Path]:
    """Return the experiments that ship with ssbench, by name."""
    return {path.stem: path for path in sorted(bench_folder().glob("*.toml"))}


def find(argument: str) -> Path:
    """Turn a path, or the name of a shipped experiment, into a path.

    Raises:
        BadInputError: neither exists.
    """
    path = Path(argument)
    if path.exists():
        return path
    known = shipped()
    if path.stem in known and path.name in (path.stem, f"{path.stem}.toml"):
        return known[path.stem]
    raise BadInputError(
        f"{argument}: no such file, and no experiment of this name ships with ssbench; "
        f"{nearest(path.stem, known)}"
    )


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment, apply ``key.path=value`` overrides, and check it.

    Raises:
        BadInputError: the file cannot be read, is not TOML, or a key or value does not fit.
    """
    content = {"name": path.stem} | read_toml(path)
    try:
        for each in overrides:
            override(content, each)
        refuse_depth(content, str(path))
        return Experiment.model_validate(content)
    except ValidationError as error:
        lines = [_explain(detail) for detail in _one_per_place(error)[:MOST_ERRORS]]
        raise BadInputError(f"{path}: " + f"\n{path}: ".join(lines)) from error


MOST_ERRORS, MOST_TOLD = 20, 200
"""Number of wrong keys in one message, and of characters of a wrong value."""


def _one_per_place(error: ValidationError) -> list[ErrorDetails]:
    """Return one error per key: a union reports one for every alternative.

    Prefers an error that lists the allowed values; drops an error about a whole table if there are
    errors about its keys.
    """
    errors: dict[str, ErrorDetails] = {}
    for detail in error.errors(include_url=False):
        place = _key_path(detail["loc"])
        if place not in errors or detail["type"] == "literal_error":
            errors[place] = detail
    tables = {place[:end] for place in errors for end, sign in enumerate(place) if sign == "."}
    return [detail for place, detail in errors.items() if place not in tables]


_UNION_TAGS = ("float", "list[", "literal[", "function-", "MethodSpec", "BudgetSpec", "Scale")


def _key_path(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if not str(part).startswith(_UNION_TAGS)]
    return ".".join(parts)


def _explain(detail: ErrorDetails) -> str:
    place = _key_path(detail["loc"])
    if detail["type"] == "extra_forbidden":
        last = str(detail["loc"][-1])
        return f"{place}: unknown key; {nearest(last, _allowed(detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"{place}: this key is missing; add it"
    return f"{place}: {message(detail)} (found {_brief(detail['input'])})"


def _brief(value: Any) -> str:
    """Return a wrong value, shortened for a message."""
    text = repr(value)
    return text if len(text) <= MOST_TOLD else f"{text[:MOST_TOLD]}…"


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the table at a place."""
    tables: dict[str, type[BaseModel]] = {
        "train": Recipe,
        "finetune": Recipe,
        "budget": BudgetSpec,
        "tune": TuneSpec,
        "data": DataSettings,
        "normalise": Scale,
    }
    model = next((tables[str(part)] for part in reversed(location) if part in tables), Experiment)
    return list(model.model_fields)
