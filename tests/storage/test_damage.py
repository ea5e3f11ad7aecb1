"""Altered files are found, reported in one line, and computed again by ``run``."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ssbench.errors import BadInputError, DamagedError
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.jsonl import dump, parse
from ssbench.storage.manifest import Manifest
from ssbench.storage.records import read_file, read_runs
from ssbench.storage.results import Results
from tests.support.command_line import Invoke
from tests.support.paths import OLD, RECORDS, REFERENCE
from tests.support.processes import Content, content


def flip(path: Path, at: float = 0.5, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(data)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def last_line_gone(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def edited(path: Path) -> None:
    text = path.read_text()
    error = json.loads(text.splitlines()[-1])["test_top1_error"]
    changed = text.replace(f'"test_top1_error": {error}', '"test_top1_error": 0.5')
    assert changed != text
    path.write_text(changed)


def other_format(path: Path) -> None:
    lines = [line | {"format": 3, "news": 1} for line in parse(path)]
    path.write_text(dump(lines))


def empty(path: Path) -> None:
    path.write_bytes(b"")


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bit": (flip, "altered or cut"),
    "half of it": (cut, "not JSON"),
    "the last line": (last_line_gone, "altered or cut"),
    "by hand": (edited, "altered or cut"),
    "another version": (other_format, "a record of format 3"),
    "all of it": (empty, "empty"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Invoke, Path], Path]:
    """An experiment that has been run once for all tests of this file, copied for each."""
    first = tmp_path_factory.mktemp("finished")

    def copy(invoke: Invoke, tiny: Path) -> Path:
        if not (first / "results").exists():
            assert invoke("run", tiny, "--results", first / "results", "--quiet").code == 0
        shutil.copytree(first / "results", "results")
        return Path("results")

    return copy


Finished = Callable[[Invoke, Path], Path]


SOME = {"a bit", "another version"}
"""What every run of the tests tries from end to end."""


@pytest.mark.parametrize(
    "case", [c if c in SOME else pytest.param(c, marks=pytest.mark.exhaustive) for c in HARM]
)
def test_a_damaged_record_is_refused_by_report_and_computed_again_by_run(
    case: str, finished: Finished, invoke: Invoke, tiny: Path
) -> None:
    folder = finished(invoke, tiny) / "tiny"
    before = content(folder)
    harm, said = HARM[case]
    path = sorted(folder.glob("*magnitude-0.1*.jsonl"))[0]
    harm(path)
    harmed = path.read_bytes()

    refused = invoke("report", folder, "--out", "out")
    assert refused.code == 2
    assert path.name in refused.err
    assert said in refused.err
    assert "run the experiment again" in refused.err
    assert not Path("out").exists() or not list(Path("out").iterdir())

    again = invoke("run", tiny, "--quiet")
    assert again.code == 0
    assert again.err.count("computed again") == 1
    (line,) = again.err.splitlines()
    assert path.name in line
    assert content(folder) == before
    fault = "other-version" if case == "another version" else "damaged"
    (aside,) = [p for p in folder.iterdir() if ".jsonl." in p.name and not p.name.startswith(".")]
    assert aside.name == f"{path.name}.{fault}"
    assert aside.read_bytes() == harmed
    assert invoke("run", tiny, "--quiet").err == ""
    assert invoke("report", folder, "--out", "out").code == 0


@pytest.mark.parametrize("case", HARM)
def test_what_harms_a_record_is_named_and_counts_as_no_result(case: str, tmp_path: Path) -> None:
    results = Results(tmp_path, {"name": "x"})
    results.folder.mkdir()
    told: list[str] = []
    results.tell = told.append
    results.save("run", RECORDS)
    path = results.folder / "run.jsonl"
    harm, said = HARM[case]
    harm(path)
    with pytest.raises(DamagedError, match=said):
        read_runs(results.folder)
    assert results.last("run") is None
    assert results.last("run") is None
    (line,) = told
    assert said in line
    results.save("run", RECORDS)
    assert results.last("run") == RECORDS[-1]


def test_every_bit_of_a_record_that_flips_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    whole = dump(RECORDS).encode()
    path.write_bytes(whole)
    assert [record for record, _ in read_file(path)] == RECORDS
    for position in range(0, len(whole), 37):
        harmed = bytearray(whole)
        harmed[position] ^= 1 << position % 8
        path.write_bytes(harmed)
        with pytest.raises(DamagedError):
            read_file(path)


def test_lines_that_are_mixed_up_or_of_another_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    lines = dump(RECORDS).splitlines()
    other = dump([record | {"seed": 7} for record in RECORDS]).splitlines()
    plain = json.dumps(RECORDS[-1])
    for mixed in (lines[::-1], [lines[0], *other[1:]], [*lines[:-1], plain], lines * 2, lines[1:]):
        path.write_text("\n".join(mixed) + "\n")
        with pytest.raises(DamagedError):
            parse(path)


def test_records_from_before_there_were_checksums_are_read() -> None:
    assert all(run.final.format == 1 for run in read_runs(REFERENCE))
    assert "sha256" not in OLD.read_text()


def test_what_is_not_finite_is_written_as_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    odd = RECORDS[-1] | {"test_loss": float("nan"), "curve_loss": [1.0, float("inf")]}
    path.write_text(dump([odd]))
    assert "NaN" not in path.read_text()
    assert parse(path)[0]["test_loss"] is None
    assert parse(path)[0]["curve_loss"] == [1.0, None]


def test_a_record_that_was_set_aside_and_not_computed_again_is_missed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(dump(RECORDS))
    read_runs(tmp_path)
    (tmp_path / "b.jsonl").rename(tmp_path / "b.jsonl.damaged-2")
    with pytest.raises(BadInputError, match=r"b\.jsonl\.damaged-2: set aside and not computed"):
        read_runs(tmp_path)


def test_several_damaged_files_of_one_run_are_all_kept(tmp_path: Path) -> None:
    results = Results(tmp_path, {"name": "x"})
    results.folder.mkdir()
    path = results.folder / "run.jsonl"
    for number in range(3):
        path.write_text(f"harm {number}")
        results.save("run", RECORDS)
        assert parse(path) == RECORDS
        results.save("run", [RECORDS[-1]])  # a whole one stays as it is
        assert parse(path) == RECORDS
    kept = {p.name: p.read_text() for p in results.folder.glob("*.damaged*")}
    assert kept == {
        "run.jsonl.damaged": "harm 0",
        "run.jsonl.damaged-2": "harm 1",
        "run.jsonl.damaged-3": "harm 2",
    }


def stage_of(folder: Path, kind: str, part: str = "magnitude-0.1") -> str:
    (path,) = folder.glob(f"tiny/*{part}*.jsonl")
    return str(next(line["stage_id"] for line in parse(path) if line["stage"] == kind))


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("model.safetensors", flip),
        *(
            pytest.param(file, harm, marks=pytest.mark.exhaustive)
            for file, harm in (
                ("model.safetensors", cut),
                ("record.json", flip),
                ("record.json", cut),
                ("manifest.json", flip),
                ("manifest.json", cut),
            )
        ),
    ],
)
def test_a_damaged_stage_is_computed_again_when_it_is_needed(
    file: str, harm: Callable[[Path], None], finished: Finished, invoke: Invoke, tiny: Path
) -> None:
    folder = finished(invoke, tiny)
    before = content(folder / "tiny")
    store = CheckpointStore(folder / ".cache")
    train = stage_of(folder, "train")
    tensors = store.tensors(train)
    for path in folder.glob("tiny/*.jsonl"):
        path.unlink()
    for kind in ("prune", "finetune"):
        store.remove(stage_of_before(before, kind))
    harm(folder / ".cache" / "stages" / train / file)
    again = invoke("run", tiny, "--quiet")
    assert again.code == 0
    (line,) = again.err.splitlines()
    assert train in line
    assert line.endswith("computed again")
    assert content(folder / "tiny") == before
    healed = store.tensors(train)
    assert all(bool((healed[name] == tensor).all()) for name, tensor in tensors.items())


def stage_of_before(found: Content, kind: str) -> str:
    run = next(run for run in found if "magnitude-0.1" in run)
    return str(next(line["stage_id"] for line in found[run] if line["stage"] == kind))


def test_a_removed_cache_is_computed_again(finished: Finished, invoke: Invoke, tiny: Path) -> None:
    folder = finished(invoke, tiny)
    before = content(folder / "tiny")
    (path,) = folder.glob("tiny/*magnitude-0.1*.jsonl")
    path.unlink()
    shutil.rmtree(folder / ".cache" / "stages" / stage_of_before(before, "train"))
    shutil.rmtree(folder / ".cache" / "stages" / stage_of_before(before, "finetune"))
    assert invoke("run", tiny, "--quiet").code == 0
    assert content(folder / "tiny") == before


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("opened"),)


@pytest.mark.parametrize("described", [True, False])
def test_a_pickle_in_place_of_a_checkpoint_is_never_opened(
    described: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage = tmp_path / "stages" / "abc"
    stage.mkdir(parents=True)
    (stage / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    (stage / "record.json").write_text("{}")
    if described:
        (stage / "manifest.json").write_text(Manifest.of(stage).model_dump_json())
    with pytest.raises(DamagedError, match="damaged"):
        CheckpointStore(tmp_path).tensors("abc")
    assert not Path("opened").exists()
    pickle.loads((stage / "model.safetensors").read_bytes())  # noqa: S301 -- it would do harm
    assert Path("opened").exists()


def test_a_report_is_rendered_again_when_the_records_differ_whatever_the_clock_says(
    finished: Finished, invoke: Invoke, tiny: Path
) -> None:
    folder = finished(invoke, tiny) / "tiny"
    page = folder / "report.html"
    was = page.read_bytes()
    assert invoke("run", tiny, "--quiet").code == 0
    stamp = page.stat().st_ino
    for then in (0, 2**33):  # records from long ago, and from the future
        for path in folder.glob("*.jsonl"):
            os.utime(path, (then, then))
        assert invoke("run", tiny, "--quiet").code == 0
        assert page.stat().st_ino == stamp
    os.utime(page, (2**33, 2**33))
    (path,) = folder.glob("*magnitude-0.1*.jsonl")
    lines = [line | {"test_top1_error": 99.9} for line in parse(path)]
    path.write_text(dump(lines))
    assert invoke("run", tiny, "--quiet").code == 0
    assert page.read_bytes() != was
    assert "99.9" in (folder / "report.md").read_text()
