"""Beside every row with one threshold stands the same row with a floor; methods have a scope."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssbench.errors import BadInputError
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import load, shipped
from ssbench.experiment.stage import Run
from ssbench.experiment.variants import variants
from ssbench.method.registry import discover
from tests.support.command_line import TINY, Invoke

REGISTRY = discover()
HEAD = TINY[: TINY.index("methods =")].replace(", protection = 0.0", "")


def runs(path: Path, *overrides: str) -> list[Run]:
    return plan(load(path, overrides), REGISTRY, "data", "tiny.toml")


def cuts(made: list[Run]) -> list[tuple[Any, ...]]:
    budgets = [run.budget for run in made if run.budget]
    return [(each.kept, each.scope, each.protection) for each in budgets]


@pytest.fixture
def one(tiny: Path) -> Path:
    tiny.write_text(HEAD + 'methods = [{ name = "magnitude", grain = "connection" }]')
    return tiny


def test_a_row_with_one_threshold_has_a_twin_that_shares_its_training(one: Path) -> None:
    made = runs(one)
    assert cuts(made) == [
        (0.5, "global", 0.0), (0.1, "global", 0.0), (0.5, "global", 0.005), (0.1, "global", 0.005),
    ]  # fmt: skip
    assert [stage.kind for stage in stages(made)].count("train") == 1
    free = runs(one, "budget.protection=0.0")
    assert [run.id for run in free] == [run.id for run in made[:2]]
    assert [run.stage.twin for run in made] == [None, None, *(run.stage for run in made[:2])]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("protection=[0.0,0.02]", [(0.5, "global", 0.0), (0.5, "global", 0.02)]),
        ("protection=[0.02]", [(0.5, "global", 0.02)]),
        ("protection=0.02", [(0.5, "global", 0.02)]),
        ("scope=layerwise", [(0.5, "layerwise", 0.0)]),
    ],
)
def test_floors_can_be_asked_for(one: Path, said: str, expected: list[tuple[Any, ...]]) -> None:
    assert cuts(runs(one, "budget.kept=[0.5]", f"budget.{said}")) == expected


def test_a_threshold_of_the_methods_own_stands_once(tiny: Path) -> None:
    tiny.write_text(HEAD + 'methods = [{ name = "l0", budget = { kept = ["own", 0.5] } }]')
    assert cuts(runs(tiny)) == [
        ("own", "global", 0.0),
        (0.5, "global", 0.0),
        (0.5, "global", 0.005),
    ]
    found = cuts(runs(tiny, "budget.protection=[0.01]"))
    assert found == [("own", "global", 0.0), (0.5, "global", 0.01)]


@pytest.mark.parametrize("wrong", ["[]", "[0.1,0.1]", "1.0", "[-0.1]", '"much"'])
def test_wrong_floors_are_refused_by_their_key(one: Path, wrong: str) -> None:
    with pytest.raises(BadInputError, match=r"budget\.protection(\.0)?: "):
        load(one, [f"budget.protection={wrong}"])


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        ('name = "magnitude", grain = "filter"', "layerwise"),
        ('name = "magnitude", grain = "filter", budget = { scope = "global" }', "global"),
        ('name = "magnitude", grain = "connection"', "global"),
        ('name = "fpgm"', "layerwise"),
        ('name = "gradual-magnitude"', "layerwise"),
        ('name = "network-slimming"', "global"),
    ],
)
def test_methods_prune_as_their_authors_do(tiny: Path, method: str, scope: str) -> None:
    tiny.write_text(HEAD + f"methods = [{{ {method} }}]")
    assert {each for _, each, _ in cuts(runs(tiny))} == {scope}


def test_an_unknown_scope_of_a_method_is_refused(tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "mine.py"
    source = REGISTRY.methods["fpgm"].path.read_text()
    path.write_text(source.replace('Scope] = "layerwise"', 'Scope] = "layers"'))
    tiny.write_text(HEAD + 'methods = [{ name = "mine" }]')
    with pytest.raises(BadInputError, match=r"mine.py: scope is 'layers'; write 'global' or"):
        plan(load(tiny), discover([path]), "data", "tiny.toml")


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_in_shipped_experiments_every_threshold_has_a_floor_beside_it(path: Path) -> None:
    for variant in variants(load(path), REGISTRY, path.name):
        for place, budget in enumerate(variant.budgets):
            if not budget or budget.scope == "layerwise" or budget.kept == "own":
                continue
            assert budget.protection or place in variant.bare.values(), variant.label
    assert load(path).budget.protection is None


def test_tuning_looks_at_the_rows_that_compete(one: Path) -> None:
    (variant,) = variants(load(one), REGISTRY, "tiny.toml")
    floors = [each.protection for each in variant.competing().budgets if each]
    assert floors == [0.005, 0.005]


def test_a_floor_that_never_acts_costs_no_training(invoke: Invoke, one: Path) -> None:
    assert invoke("run", one, "--set", "budget.kept=[0.5]", "--quiet").code == 0
    last = [
        json.loads(path.read_text().splitlines()[-1])
        for path in sorted(Path("results/tiny").glob("*.jsonl"))
    ]
    assert sorted(record["protection"] for record in last) == [0.0, 0.005]
    assert last[0]["run"] != last[1]["run"]
    for key in ("test_loss", "seconds_train", "time"):  # not measured again
        assert last[0][key] == last[1][key]
    assert all(record["test_guess_error"] == pytest.approx(88, abs=2) for record in last)


def test_a_budget_that_no_cut_comes_near_is_warned_of(invoke: Invoke, tiny: Path) -> None:
    """One threshold over filters of unlike fan-in takes the first layer whole, and all with it."""
    tiny.write_text(
        HEAD.replace("kept = [0.5, 0.1]", 'unit = "params", kept = [0.125], scope = "global"')
        + 'methods = [{ name = "magnitude", grain = "filter" }]'
    )
    ended = invoke("run", tiny)
    assert "% of params stay where 12.5 % was asked, and no cut comes nearer" in ended.err
    assert "set budget.protection = 0.005 or budget.scope = 'layerwise'" in ended.err
    assert "too little to compete; protection or scope" in " ".join(ended.out.split())
