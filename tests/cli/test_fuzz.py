"""Experiments and records altered at random: a valid result or one clean message, nothing else.

Mutations of files that ship with ssbench: bytes (flipped, cut, put in, doubled) and structure (keys
and values swapped for others, of other types, at any depth).
"""

import copy
import json
import time
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssbench.analysis.rows import make_rows
from ssbench.errors import BadInputError
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import find, load
from ssbench.method.registry import Registry, discover
from ssbench.storage.jsonl import dump
from ssbench.storage.records import read_file, read_runs
from tests.support.paths import REFERENCE, ROOT

SECONDS = 5.0
"""Maximum processor seconds of a case; most take a thousandth."""
EXPERIMENTS = [path.read_bytes() for path in sorted((ROOT / "bench").glob("*.toml"))]
OLD = [path.read_bytes() for path in sorted(REFERENCE.glob("*.jsonl"))[::12]]
NEW = [
    dump([json.loads(line) | {"format": 2} for line in content.splitlines()]).encode()
    for content in OLD
]
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just([]),
    st.just({}), st.sampled_from([10**30, -1, 0, 1e308, "../x", "\0", "\ud800", "NaN", [[[]]]]),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip
TOKENS = [
    b"[", b"]", b"{", b"}", b'"', b",", b"=", b".", b"\n", b"\0", b"\xff", b"nan", b"-", b"#",
    b"inf", b"null", b"1e999", b'"""', b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"9" * 5000,
    b"[" * 2000,
]  # fmt: skip


@st.composite
def altered_bytes(draw: st.DrawFn, files: list[bytes]) -> bytes:
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        upto = min(at + draw(st.integers(0, 60)), len(content))
        how = draw(st.sampled_from(["flip", "cut", "put", "double", "end"]))
        if how == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del content[at:upto]
        elif how == "put":
            content[at:at] = draw(st.sampled_from(TOKENS))
        elif how == "double":
            content[at:at] = content[at:upto]
        elif how == "end":
            del content[at:]
    return bytes(content)


@st.composite
def altered_value(draw: st.DrawFn, value: dict[str, Any]) -> dict[str, Any]:
    """Change something at one place of a nested value."""
    whole = copy.deepcopy(value)
    inside: Any = whole
    key: Any = draw(st.sampled_from(sorted(whole)))
    for _ in range(draw(st.integers(0, 4))):
        if not isinstance(inside[key], dict | list) or not inside[key]:
            break
        inside = inside[key]
        keys = sorted(inside) if isinstance(inside, dict) else range(len(inside))
        key = draw(st.sampled_from(keys))
    how = draw(st.sampled_from(["odd", "gone", "more", "list"]))
    if how == "odd":
        inside[key] = draw(ODD)
    elif how == "gone":
        del inside[key]
    elif how == "more" and isinstance(inside, dict):
        inside[draw(st.text(max_size=8))] = draw(ODD)
    else:
        inside[key] = [inside[key]] * draw(st.integers(0, 40))
    return whole


def as_toml(value: Any) -> str:
    """Write a value as TOML, tables inline."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items())
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return '"null"' if value is None else json.dumps(value)


@st.composite
def altered_experiment(draw: st.DrawFn) -> bytes:
    if draw(st.booleans()):
        return draw(altered_bytes(EXPERIMENTS))
    content = tomllib.loads(draw(st.sampled_from(EXPERIMENTS)).decode())
    content = draw(altered_value(content))
    lines = [f"{json.dumps(key)} = {as_toml(value)}" for key, value in content.items()]
    return "\n".join(lines).encode(errors="surrogatepass")


@st.composite
def altered_records(draw: st.DrawFn) -> bytes:
    how = draw(st.sampled_from(["old bytes", "new bytes", "structure", "sealed structure"]))
    if how.endswith("bytes"):
        return draw(altered_bytes(OLD if how == "old bytes" else NEW))
    lines = [json.loads(line) for line in draw(st.sampled_from(OLD)).splitlines()]
    at = draw(st.integers(0, len(lines) - 1))
    lines[at] = draw(altered_value(lines[at]))
    if how == "structure":
        return "\n".join(json.dumps(line) for line in lines).encode(errors="surrogatepass")
    return dump([line | {"format": 2} for line in lines]).encode()


def in_time(call: Callable[[], object]) -> bool:
    """Make a call; return True for a result and False for a clean message."""
    began, said = time.process_time(), None
    try:
        call()
    except BadInputError as error:
        said = str(error)
    assert time.process_time() - began < SECONDS
    assert said is None or 0 < len(said) < 20_000
    return said is None


def try_experiment(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    known = warm()
    return in_time(lambda: plan(load(path), known, "data", str(path)))


@cache
def warm() -> Registry:
    """Plan once, because the first call imports the libraries."""
    known = discover()
    plan(load(find("table1_cifar10")), known, "data", "")
    return known


def try_records(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    in_time(lambda: make_rows(read_runs(path.parent)))
    return in_time(lambda: read_file(path))


def fuzz(cases: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=cases,
        deadline=None,
        derandomize=cases < 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@fuzz(25)
@given(content=altered_experiment())
def test_altered_experiments(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    try_experiment(tmp_path_factory.getbasetemp() / "fuzzed.toml", content)


@fuzz(100)
@given(content=altered_records())
def test_altered_records(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    try_records(folder / "run.jsonl", content)


@pytest.mark.exhaustive
def test_five_thousand_altered_experiments(tmp_path: Path) -> None:
    came: list[bool] = []

    @fuzz(5000)
    @given(content=altered_experiment())
    def tried(content: bytes) -> None:
        came.append(try_experiment(tmp_path / "fuzzed.toml", content))

    tried()
    print(f"{len(came)} experiments, {sum(came)} of them still valid")
    assert 0.02 < sum(came) / len(came) < 0.9  # neither all refused at once, nor all harmless


@pytest.mark.exhaustive
def test_five_thousand_altered_records(tmp_path: Path) -> None:
    came: list[bool] = []

    @fuzz(5000)
    @given(content=altered_records())
    def tried(content: bytes) -> None:
        came.append(try_records(tmp_path / "run.jsonl", content))

    tried()
    print(f"{len(came)} record files, {sum(came)} of them still valid")
    assert 0.02 < sum(came) / len(came) < 0.9
