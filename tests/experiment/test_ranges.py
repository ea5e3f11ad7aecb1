"""Every number has a range with a reason, and what is accepted plans and takes a training step."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from pydantic import BaseModel

from ssbench.data.digits import digits
from ssbench.errors import BadInputError, DivergedError
from ssbench.experiment.budget_spec import BudgetSpec
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment, MethodSpec, TuneSpec, load
from ssbench.experiment.stage import Run
from ssbench.method.describe import result_code
from ssbench.method.registry import discover
from ssbench.pipeline.feasibility import check_reach, check_shift
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.training.recipe import Recipe
from tests.support.command_line import TINY, Invoke

REGISTRY = discover()
ISSUED = {
    "train.shift": 18446744073709551616,
    "train.weight_decay": 1e29,
    "train.batch_size": 9223372036854775808,
    "finetune.lr": 1.8e19,
    "methods.0.lambda": -9e18,
}


def written(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def saved(content: dict[str, Any], path: Path) -> Path:
    path.write_text("\n".join(f"{key} = {written(value)}" for key, value in content.items()))
    return path


def placed(content: dict[str, Any], key: str, value: Any) -> None:
    *outer, last = (int(part) if part.isdigit() else part for part in key.split("."))
    inside: Any = content
    for part in outer:
        inside = inside[part]
    inside[last] = value


@cache
def base() -> str:
    """An experiment on digits with every method, all its hyper-parameters and all other keys."""
    recipe = Recipe(epochs=1, shift=1, flip=False).model_dump()
    methods = [
        {"name": name} | {key: value for key, value in file.cls().settings.items()
                          if value is not None}
        for name, file in REGISTRY.methods.items()
    ]  # fmt: skip
    budget = {"unit": "params", "kept": [0.5], "scope": "global", "protection": 0.0, "passes": 1}
    return json.dumps({
        "dataset": "digits", "models": ["vgg6"], "seeds": [0], "budget": budget,
        "train": recipe, "finetune": recipe, "scratch_limit": 2.0, "passes_epochs": "repeat",
        "tune": {"seeds": [7], "finetune_lr": [0.01, 0.1]},
        "methods": [*methods, {"name": "magnitude", "norm": "l2", "finetune_lr": 0.02}],
    })  # fmt: skip


@pytest.mark.parametrize("key", ISSUED)
def test_a_number_that_makes_no_sense_is_refused_with_its_range_and_the_reason(
    key: str, tiny: Path, invoke: Invoke
) -> None:
    content = json.loads(base()) | {"methods": [{"name": "network-slimming", "lambda": 1e-4}]}
    placed(content, key, ISSUED[key])
    ended = invoke("run", saved(content, tiny))
    assert ended.code == 2
    assert f"{tiny}: {key}: must lie between " in ended.err
    assert f"(found {ISSUED[key]!r})" in ended.err
    assert ": " in ended.err.split("must lie between ")[1]
    assert not Path("results").exists()


def numbers(model: type[BaseModel]) -> Iterator[tuple[str, bool]]:
    """The fields that take a number, and whether a whole one."""
    for name, field in model.model_fields.items():
        kinds = str(field.rebuild_annotation())
        if name != "kept" and ("int" in kinds or "float" in kinds):
            yield name, "float" not in kinds


@pytest.mark.parametrize("model", [Recipe, BudgetSpec, MethodSpec, TuneSpec, Experiment])
def test_every_number_of_an_experiment_has_both_limits(model: type[BaseModel]) -> None:
    others = {"name": "x", "dataset": "digits", "models": ["vgg6"], "methods": "all"}
    needed = {key: value for key, value in others.items() if key in model.model_fields}
    for name, whole in numbers(model):
        for value in (-(10**20), 10**20) if whole else (-1e20, 1e20):
            listed = "list" in str(model.model_fields[name].annotation)
            with pytest.raises(ValueError, match=rf"{name}[\s\S]*must lie between .+: \w+"):
                model.model_validate(needed | {name: [value, value / 2] if listed else value})


@pytest.mark.parametrize("name", REGISTRY.methods)
def test_every_number_among_the_hyper_parameters_has_limits(name: str) -> None:
    cls = REGISTRY.methods[name].cls
    hints = get_type_hints(cls)
    found = {
        f.name.rstrip("_")
        for f in fields(cls)
        if {int, float} & {hints[f.name], *get_args(hints[f.name])}
    }
    assert set(cls.limits) == found


MINE = """
from dataclasses import dataclass
from ssbench.method import LogUniform, Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    grain = "weight"
    {declared}
    power: float = 2.0

    def scores(self, model):
        return {{name: w.abs() ** self.power for name, w in prunable_weights(model).items()}}
"""


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ('limits = {"powers": (0, 1, "why")}', "limits names 'powers', which is no hyper-param"),
        ('limits = {"power": (0, 1, "why")}', "Mine.power = 2.0 must lie between 0 and 1: why"),
        ('limits = {"power": (1, 0, "why")}', "give (lowest, highest, reason)"),
        ('limits = {"power": (0, 3)}', "give (lowest, highest, reason)"),
        ('limits = {"power": (1, 3, "why")}; search = {"power": LogUniform(1e-3, 3)}',
         "Mine.power = 0.001 must lie between 1 and 3: why"),
    ],
)  # fmt: skip
def test_limits_that_cannot_be_are_refused(
    declared: str, words: str, tmp_path: Path, invoke: Invoke
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(declared=declared))
    ended = invoke("list", "methods", "--method-file", path)
    assert ended.code == 2
    assert words in " ".join(ended.out.split())


def test_a_method_without_limits_works_and_takes_no_number_beyond_all_reason(
    tmp_path: Path, tiny: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE.format(declared=""))
    known = discover([path])
    for power in (3.0, 1e300, float("nan")):
        use = f'methods = [{{ name = "mine", power = {power} }}]'
        tiny.write_text(TINY[: TINY.index("methods =")] + use)
        if power == 3.0:
            assert plan(load(tiny), known, "data", "tiny.toml")
        else:
            with pytest.raises(BadInputError, match=r"methods\.0\.power: must lie between -1e\+12"):
                plan(load(tiny), known, "data", "tiny.toml")


def test_limits_are_no_part_of_what_results_depend_on() -> None:
    plain = MINE.format(declared="own_threshold = 0.0").encode()
    limits = 'limits = {\n        "power": (0, 3, "why"),\n    }'
    more = f'own_threshold = 0.0\n    {limits}\n    leaves_out = "x"'
    assert result_code(MINE.format(declared=more).encode()) == plain
    assert result_code(plain) == plain
    assert result_code(MINE.format(declared="own_threshold = 1.0").encode()) != plain


def test_a_shift_as_wide_as_the_images_is_refused(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--set", "train.shift=8", "--dry-run")
    assert ended.code == 2
    assert "shift: 8 pixels, but the images of digits have 8 x 8; ask for at most 7" in ended.err
    assert invoke("run", tiny, "--set", "train.shift=7", "--dry-run").code == 0


POOL: list[Any] = [
    0, 1, 2, 3, -1, 7, 100, 10_000, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1,
    0.0, 0.5, 1.0, 1e-3, 1e-12, 5e-324, 0.9999, 0.99999999, 10.0, 99.0, 1e4, 1e9, 1e29, 1e38, 1e308,
    -1e-9, -0.0, -9e18, 1.8e19, float("nan"), float("inf"), -float("inf"),
    True, "x", "", [], {}, [0.1, 0.2], [1, 1], "finetune", "global", "layerwise", "own", "filter",
]  # fmt: skip


def places(content: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The path of every value, and the value."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        here = f"{before}{key}"
        if isinstance(value, dict | list) and value:
            yield from places(value, f"{here}.")
        elif not here.startswith(("dataset", "models")) and not here.endswith((".name", "compile")):
            yield here, value


def altered(number: int) -> dict[str, Any]:
    """An experiment with one or two values put in the place of others."""
    draw = random.Random(number)  # noqa: S311 -- nobody is to be kept from guessing it
    content: dict[str, Any] = json.loads(base())
    content["methods"] = draw.sample(content["methods"], 2)
    found = dict(places(content))
    for key in draw.sample(sorted(found), draw.randint(1, 2)):
        placed(content, key, other(draw, found[key]))
    return content


def other(draw: random.Random, value: Any) -> Any:
    """Mostly a value of the same kind, so that not all is refused for its type."""
    if type(value) not in (int, float) or draw.random() < 0.2:
        return draw.choice(POOL)
    alike = [each for each in POOL if type(each) is type(value)]
    return draw.choice([*alike, *(type(value)(value * 10.0**power) for power in range(-4, 5))])


@cache
def workbench() -> Workbench:
    data = digits()
    few = replace(data.train, images=data.train.images[:64], labels=data.train.labels[:64])
    return Workbench(replace(data, train=few), torch.device("cpu"))


def accepted(number: int, path: Path) -> list[Run]:
    """The runs of an altered experiment; none where it was refused with a clean message."""
    runs: list[Run] = []
    with suppress(BadInputError):
        planned = plan(load(saved(altered(number), path)), REGISTRY, "data", "altered")
        check_shift(planned, workbench(), "altered")
        runs = planned
    return runs


def take_a_step(run: Run) -> None:
    """Train for one epoch of 64 images, prune in at most two rounds, and finetune likewise."""
    try:
        check_reach([run], workbench(), "altered")
    except BadInputError:
        return
    tensors: dict[str, torch.Tensor] = {}
    for stage in run.stages[:3]:
        short: dict[str, Any] = {}
        if stage.recipe:
            short["recipe"] = stage.recipe.model_copy(update={"epochs": 1})
        if stage.method and "rounds" in stage.method.settings:
            short["method"] = replace(stage.method, rounds=min(stage.method.rounds, 2))
        try:
            tensors, _ = carry_out(replace(stage, **short), workbench(), tensors, lambda _: None)
        except DivergedError:
            return


def test_two_thousand_altered_experiments_plan_or_say_why_not(tmp_path: Path) -> None:
    found = [accepted(number, tmp_path / "altered.toml") for number in range(2000)]
    runs = [run for some in found for run in some]
    distinct = {run.stage.alike: run for run in runs}
    assert 0.1 < sum(map(bool, found)) / len(found) < 0.9
    for run in list(distinct.values())[:: len(distinct) // 6]:
        take_a_step(run)


@pytest.mark.exhaustive
def test_what_is_accepted_takes_a_step(tmp_path: Path) -> None:
    tried: set[str] = set()
    for number in range(2000):
        for run in accepted(number, tmp_path / "altered.toml"):
            if run.stage.alike not in tried:
                tried.add(run.stage.alike)
                take_a_step(run)
    print(f"{len(tried)} distinct runs took a step")
    assert len(tried) > 200
