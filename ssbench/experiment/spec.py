"""Read a file of bench/ as a validated, frozen `Experiment`.

>>> load(find("bench/quickstart.toml"), ["train.epochs=2"]).train.epochs
2
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from ssbench.data.own.settings import DataSettings, Scale
from ssbench.data.preprocessing import STANDARD
from ssbench.data.registry import dataset_name
from ssbench.errors import BadInputError, message, nearest, within
from ssbench.experiment.budget_spec import BudgetSpec
from ssbench.experiment.model_spec import ModelSpec, as_tables, check_start
from ssbench.experiment.overrides import override
from ssbench.experiment.retraining import Retrain
from ssbench.paths import bench_folder
from ssbench.storage.toml import read_toml, refuse_depth
from ssbench.storage.view import View
from ssbench.training.recipe import LearningRate, Recipe

if TYPE_CHECKING:
    from ssbench.data.dataset import DataSet

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
Seed = Annotated[int, within(-(2**63), 2**63 - 1, "a seed has 64 bits")]
Words = Annotated[str, Field(max_length=500)]


class MethodSpec(BaseModel):
    """One entry of ``methods``: a name, hyper-parameters (a list is a sweep), own budgets.

    Attributes:
        name: of the method; a plain name stands for a table with nothing else.
        label: the name of its rows; None: the method's name and what differs.
        budget: budgets of its own; what it leaves open is the experiment's.
        retrain: the training after pruning; a list has one row per value.
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


def by_name(methods: Any) -> Any:
    """Write every plain name of ``methods`` as the table that it stands for."""
    if not isinstance(methods, list):
        return methods
    return [{"name": each} if isinstance(each, str) else each for each in methods]


class TuneSpec(BaseModel):
    """How ``ssbench tune`` chooses hyper-parameters, besides what the methods' files say.

    Attributes:
        seeds: to tune on; None: one seed that the experiment does not have.
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
        name: of the folder of results; None: the file's name.
        title: in words.
        dataset: the images: a name, or images of your own.
        data: how to prepare images of your own.
        models: the networks; a table gives one its arguments or weights.
        methods: the methods: names or tables with hyper-parameters, of which a list is a sweep.
        budget: how much the pruned networks may keep.
        seeds: each gives one run of every row.
        train: the training before pruning.
        finetune: the training after pruning; its keys are those of train.
        tune: how ``ssbench tune`` chooses hyper-parameters.
        report: how the tables of the report look; changes no result and no id.
        start: where trainings start: random weights, those that torchvision or timm publish, or a
            file of weights.
        scratch_limit: the largest factor by which the control scratch-b multiplies the epochs.
        passes_epochs: whether each of several passes takes all epochs again, or the passes divide
            them, so that such rows have no more epochs in total than others.
    """

    model_config = _STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    title: Words = ""
    dataset: str
    data: DataSettings = DataSettings()
    models: list[str | ModelSpec] = Field(min_length=1)
    methods: list[MethodSpec] | Literal["all"]
    budget: BudgetSpec = BudgetSpec()
    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1)
    start: Annotated[str, AfterValidator(check_start)] = "random"
    train: Recipe = Recipe()
    finetune: Recipe = Recipe()
    scratch_limit: Annotated[
        float, within(1, 100, "it multiplies the epochs, and shortens no training")
    ] = 2.0
    passes_epochs: Literal["repeat", "split"] = "repeat"
    tune: TuneSpec = TuneSpec()
    report: View = View()

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, methods: Any) -> Any:
        return by_name(methods)

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
    def networks(self) -> list[ModelSpec]:
        """The entries of ``models`` as tables."""
        return as_tables(self.models, self.start)

    @property
    def model_names(self) -> list[str]:
        """The networks' names in tables."""
        return [each.label for each in self.networks]

    @property
    def manifest(self) -> dict[str, Any]:
        """The settings that all records of one results folder must share to be comparable."""
        return {
            "name": self.name,
            "dataset": dataset_name(self.dataset),
            "start": "published" if self.start == "published" else "",
            "train": self.train.manifest(),
            "finetune": self.finetune.manifest(),
        }

    def manifest_on(self, dataset: DataSet) -> dict[str, Any]:
        """Add to `manifest` what identifies the images; weights imply their own preprocessing."""
        how, asked = dataset.on_disk, self.data.changed().keys() & {"size", "normalise"}
        implied = self.start == "published" and not asked
        prepared = (
            {} if not how or how == STANDARD or implied else {"preprocessing": how.identity()}
        )
        return self.manifest | {"data": dataset.fingerprint} | prepared


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
        f"{nearest(path.stem, known, 'ssbench list experiments')}"
    )


def load(
    path: Path, overrides: Sequence[str] = (), content: dict[str, Any] | None = None
) -> Experiment:
    """Read an experiment (or take ``content``), apply ``key.path=value`` overrides, and check it.

    Raises:
        BadInputError: the file cannot be read, is not TOML, or a key or value does not fit.
    """
    content = {"name": path.stem} | (read_toml(path) if content is None else content)
    if "methods" in content:  # so that --set reaches into them
        content["methods"] = by_name(content["methods"])
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


_UNION_TAGS = (
    "float", "list[", "literal[", "function-", "MethodSpec", "BudgetSpec", "ModelSpec", "Scale",
)  # fmt: skip


def _key_path(location: tuple[int | str, ...]) -> str:
    tagged = [str(part) for part in location if part != "str"]
    parts = [part for part in tagged if not part.startswith(_UNION_TAGS)]
    return ".".join(parts)


def _explain(detail: ErrorDetails) -> str:
    place = _key_path(detail["loc"])
    if detail["type"] == "extra_forbidden":
        last = str(detail["loc"][-1])
        return (
            f"{place}: unknown key; {nearest(last, _allowed(detail['loc'][:-1]), 'ssbench schema')}"
        )
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
        "report": View,
    }
    model = next((tables[str(part)] for part in reversed(location) if part in tables), Experiment)
    return list(model.model_fields)
