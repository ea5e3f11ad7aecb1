"""The JSON schema of experiment files takes all that ssbench takes, and refuses broken files."""

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ssbench.errors import BadInputError
from ssbench.experiment.schema import TABLES, attributes, experiment_schema, reference
from ssbench.experiment.spec import load, shipped
from ssbench.experiment.variants import variants
from ssbench.method.registry import discover
from tests.support.command_line import TINY

REGISTRY = discover()
SCHEMA = experiment_schema(REGISTRY)
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema() -> None:
    CHECK.check_schema(SCHEMA)


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_every_shipped_experiment_fits(path: Path) -> None:
    CHECK.validate(tomllib.loads(path.read_text()))


GOOD = {
    "plain names": ("methods = [", 'methods = ["l0", '),
    "all methods": (TINY[TINY.index("methods =") :], 'methods = "all"'),
    "a sweep": ('grain = "connection"', 'grain = ["connection", "weight"]'),
    "its own share": ("kept = [0.5, 0.1]", 'kept = ["own", 0.1]'),
    "one share": ("kept = [0.5, 0.1]", "kept = 0.1"),
    "a schedule": ("kept = [0.5, 0.1]", "passes = [0.5, 0.1]"),
    "timm": ('"vgg6"', '"timm:resnet10t"'),
    "a folder": ('"digits"', '"imagefolder:photographs"'),
    "arrays": ('"digits"', '"npz:x.npz"\ndata = { size = [8, 9], normalise = "imagenet" }'),
    "a function": ('"digits"', '"data.py:load"\ndata = { validation = 0.2, memory = true }'),
    "a name": ("seeds", 'name = "mine"\nseeds'),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_what_ssbench_takes_fits(case: str, tmp_path: Path) -> None:
    CHECK.validate(tomllib.loads(edited(*GOOD[case], tmp_path)))


BROKEN = {
    "an unknown key": ("seeds = [0]", "seeds = [0]\nsede = 1"),
    "an unknown key of a table": ("epochs = 1, lr = 0.05", "epoch = 1"),
    "an unknown key of data": ('"digits"', '"hf:x"\ndata = { sizes = 8 }'),
    "three sides": ('"digits"', '"hf:x"\ndata = { size = [8, 8, 8] }'),
    "an unknown method": ('"dense"', '"dens"'),
    "an unknown plain method": ("methods = [", 'methods = ["dens", '),
    "another method's key": ('name = "dense"', 'name = "dense", lambda = 1e-3'),
    "an unknown network": ('"vgg6"', '"vgg7"'),
    "an unknown data set": ('"digits"', '"digit"'),
    "a share over 1": ("kept = [0.5, 0.1]", "kept = [1.5]"),
    "a share of nothing": ("kept = [0.5, 0.1]", "kept = 0.0"),
    "a text for a number": ("epochs = 1", 'epochs = "1"'),
    "a number out of range": ("lr = 0.05", "lr = 1e9"),
    "an unknown value": ('"connection"', '"kernel"'),
    "a missing key": ('dataset = "digits"', ""),
    "no seeds": ("seeds = [0]", "seeds = []"),
    "an empty sweep": ('grain = "connection"', "grain = []"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_ssbench_refuses_does_not_fit(case: str, tmp_path: Path) -> None:
    text = edited(*BROKEN[case], tmp_path)
    with pytest.raises(jsonschema.ValidationError):
        CHECK.validate(tomllib.loads(text))
    if "network" not in case and "data set" not in case:  # these are looked up later
        with pytest.raises(BadInputError):
            variants(load(tmp_path / "edited.toml"), REGISTRY, "edited.toml")


def edited(old: str, new: str, folder: Path) -> str:
    assert old in TINY
    text = TINY.replace(old, new, 1)
    (folder / "edited.toml").write_text(text)
    return text


def test_every_key_says_what_it_means() -> None:
    for table in TABLES:
        assert set(table.model_fields) - attributes(table).keys() == set(), table.__name__


def test_the_reference_has_every_key() -> None:
    text = reference(REGISTRY)
    for key in ("dataset", "train.epochs", "budget.passes", "methods.retrain", "tune.seeds"):
        assert f"| `{key}` |" in text
    for file in REGISTRY.methods.values():
        settings: dict[str, Any] = file.cls().settings
        assert all(f"| `{key}` |" in text for key in settings)
