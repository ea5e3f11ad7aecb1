"""Malicious files: refused with one message, in little time and memory."""

import json
import os
import resource
from collections.abc import Iterable
from pathlib import Path

import pytest

from ssbench.errors import BadInputError
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load
from ssbench.method.registry import discover
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.folders import valid
from ssbench.storage.jsonl import LIMIT
from ssbench.storage.records import read_file
from ssbench.storage.results import Results
from tests.support.command_line import TINY, Invoke
from tests.support.paths import OLD, RECORDS

DEEP = 100_000
TOML = {
    "nested arrays": ("x = " + "[" * DEEP + "]" * DEEP, "nested too deeply"),
    "nested tables": ("x = " + "{a = " * 5000 + "1" + "}" * 5000, "nested too deeply"),
    "a dotted key": ("a" + ".a" * DEEP + " = 1", "dots"),
    "a quoted dotted key": ('" "' + '." "' * 3000 + " = 1", "dots"),
    "a header of dots": ("[a" + ".a" * 1900 + "]", "nested too deeply"),
    "a large file": ("#" * 2**20, "larger than the 0.25 MiB"),
    "a large number": ("seeds = [" + "1" * 5000 + "]", "not valid TOML"),
    "no UTF-8": ("\udcff", "cannot be read"),
    "a null": ("a\0b = 1", "not valid TOML"),
    "a key twice": ("seeds = [0]\nseeds = [1]", "not valid TOML"),
}


@pytest.mark.parametrize("case", TOML)
def test_a_hostile_experiment_is_refused(case: str, tmp_path: Path) -> None:
    text, words = TOML[case]
    path = tmp_path / "bomb.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadInputError) as raised:
        load(path)
    assert words in str(raised.value)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 1000


CHANGES = {
    "a folder above": ('name = "../../x"', "name: string should match"),
    "an absolute folder": ('name = "/tmp/x"', "name: string should match"),
    "a hidden name": ('name = ".x"', "name: string should match"),
    "a line end in a name": ('name = "x\\n"', "name: string should match"),
    "a name too long": (f'name = "{"x" * 300}"', "at most 100 characters"),
    "a seed too large": ("seeds = [9223372036854775808]", "seeds.0"),
    "many wrong keys": ("\n".join(f"k{n} = 1" for n in range(9000)), "unknown key"),
    "a long value": (f'title = ["{"x" * 100_000}"]', "title"),
    "not a number": ("scratch_limit = nan", "scratch_limit"),
    "infinite": ("scratch_limit = inf", "scratch_limit"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_hostile_value_is_refused_in_few_words(case: str, tmp_path: Path) -> None:
    line, words = CHANGES[case]
    key = line.partition(" =")[0]
    path = tmp_path / "x.toml"
    rest = "\n".join(each for each in TINY.splitlines() if not each.startswith(f"{key} ="))
    path.write_text(f"{line}\n{rest}")
    with pytest.raises(BadInputError) as raised:
        load(path)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 5000


def written(values: Iterable[object]) -> str:
    return "[" + ",\n".join(str(value) for value in values) + "]"


SWEEP = written(0.001 * n for n in range(1, 1000))
L0 = f'{{ name = "l0", lambda = {SWEEP}, temperature = {SWEEP}, budget = {{ unit = "params" }} }}'
EXPLOSIONS = {
    "seeds": ("seeds = [0]", f"seeds = {written(range(20_000))}"),
    "models": ('["vgg6"]', written(['"vgg6"'] * 15_000)),
    "sweeps": ('{ name = "magnitude", grain = "connection" }', L0),
}


@pytest.mark.parametrize("case", EXPLOSIONS)
def test_a_sweep_that_explodes_is_refused_before_anything_is_made(
    case: str, tmp_path: Path
) -> None:
    old, new = EXPLOSIONS[case]
    assert old in TINY
    path = tmp_path / "x.toml"
    path.write_text(TINY.replace(old, new).replace("[0.5, 0.1]", written([0.5] * 400)))
    with pytest.raises(BadInputError, match=r"runs, more than 200,000; most of them .* methods\."):
        plan(load(path), discover(), "data", str(path))


@pytest.mark.parametrize("override", ["name=../x", "name=a/b", 'name=""', "a" + ".a" * 5000 + "=1"])
def test_an_override_leads_to_no_other_folder(override: str, tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--set", override)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert not Path("results").exists()


@pytest.mark.parametrize(
    "name", ["..", "../x", "/etc/passwd", "a/b", "", ".hidden", "a\0", "x" * 300]
)
def test_a_stage_id_leads_to_no_other_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not the id of a stage"):
        valid(name)
    store = CheckpointStore(tmp_path)
    for call in (store.has, store.record, store.tensors, store.remove):
        with pytest.raises(BadInputError, match="not the id of a stage"):
            call(name)


def line(**changes: object) -> str:
    return json.dumps(json.loads(OLD.read_text().splitlines()[-1]) | changes)


LINES: dict[str, tuple[str | bytes, str]] = {
    "nested arrays": ('{"a": ' + "[" * DEEP + "]" * DEEP + "}", "nested too deeply"),
    "nested objects": ('{"a": ' * DEEP + "1" + "}" * DEEP, "nested too deeply"),
    "a key twice": ('{"format": 1, "format": 1}', "the key 'format' stands twice"),
    "thousands of digits": ('{"format": ' + "1" * 5000 + "}", "not JSON"),
    "no UTF-8": (b"\xff\xfe{}", "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "a list": ("[1]", "a JSON object"),
    "a number too large": (line(test_loss="BIG").replace('"BIG"', "1e999"), "finite"),
    "a large integer": (line(test_loss="BIG").replace('"BIG"', "1" * 400), "test_loss"),
    "no number where one must be": (
        line(test_top1_error="NAN").replace('"NAN"', "NaN"), "lacks test_top1_error"
    ),
    "a negative share": (line(budget_reached=-0.1), "budget_reached"),
    "nulls": ("\0" * 1000, "not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_hostile_record_is_refused(case: str, tmp_path: Path) -> None:
    text, words = LINES[case]
    path = tmp_path / "run.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInputError) as raised:
        read_file(path)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 600


def test_a_line_of_ten_gigabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: it takes no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInputError, match=r"larger than the 64 MiB .* remove it"):
        read_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**10  # KiB
    assert LIMIT == 64 * 2**20


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe, folder, loop = (tmp_path / f"{name}.jsonl" for name in ("pipe", "folder", "loop"))
    os.mkfifo(pipe)
    folder.mkdir()
    loop.symlink_to(loop)
    for path in (pipe, folder, loop):
        with pytest.raises(BadInputError, match="cannot be read"):
            read_file(path)
    os.mkfifo(tmp_path / "x.toml")
    with pytest.raises(BadInputError, match="not a file"):
        load(tmp_path / "x.toml")


def test_nothing_is_written_or_removed_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep.txt").write_text("mine")
    (outside / "record.json").write_text("{")
    results = Results(tmp_path, {"name": "x"})
    results.folder.mkdir()
    (results.folder / "run.jsonl").symlink_to(outside / "keep.txt")
    results.save("run", RECORDS)  # what the link leads to is no record
    assert results.last("run") == RECORDS[-1]
    store = CheckpointStore(tmp_path / "cache")
    store.prepare()
    (tmp_path / "cache" / "stages" / "abc").symlink_to(outside)
    store.remove("abc")
    assert not store.has("abc")
    assert (outside / "keep.txt").read_text() == "mine"
    assert sorted(path.name for path in outside.iterdir()) == ["keep.txt", "record.json"]
