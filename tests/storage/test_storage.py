"""What is there is complete: stages and records are written in whole or not at all."""

import json
import re
import socket
from pathlib import Path

import pytest
import torch

from ssbench.errors import BadInputError, DamagedError
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.files import write
from ssbench.storage.results import Results
from tests.support.paths import RECORDS


def test_a_stage_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.prepare()
    tensors = {
        "w": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
        "held:w": torch.rand(3) < 0.5,
        "n": torch.tensor(7),
    }
    assert not store.has("abc")
    store.save("abc", tensors, {"loss": 0.25})
    assert store.has("abc")
    assert store.record("abc") == {"loss": 0.25}
    loaded = store.tensors("abc")
    assert set(loaded) == set(tensors)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    store.save("abc", tensors, {"loss": 9.0})  # another process was faster: the first stays
    assert store.record("abc") == {"loss": 0.25}
    assert not list((tmp_path / "stages").glob("unfinished-*"))


def test_what_is_finished_is_known_by_one_look(tmp_path: Path) -> None:
    store, results = CheckpointStore(tmp_path), Results(tmp_path, {"name": "x"})
    assert store.finished() == results.finished() == set()  # the folders are not there yet
    store.prepare()
    results.folder.mkdir()
    results.open()
    store.save("abc", {"w": torch.ones(3)}, {})
    (tmp_path / "stages" / "unfinished-1-x").mkdir()
    results.save("run.a-1", [{"n": 1}])
    assert store.finished() == {"abc"}
    assert {"run.a-1", "run.b-1"} & results.finished() == {"run.a-1"}


@pytest.mark.parametrize("text", ["", "\n", '{"n": 1}\n{"n": ', "\udc80"])
def test_a_damaged_record_is_reported_and_counts_as_none(text: str, tmp_path: Path) -> None:
    results, told = Results(tmp_path, {"name": "x"}), list[str]()
    results.tell = told.append
    results.folder.mkdir()
    (results.folder / "run.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert [results.last("run"), results.last("run")] == [None, None]
    (line,) = told
    assert "run.jsonl" in line
    assert line.endswith("computed again")


def test_a_damaged_stage_is_named(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.prepare()
    store.save("abc", {"w": torch.ones(3)}, {})
    path = tmp_path / "stages" / "abc" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DamagedError, match=r"damaged \(71 bytes instead of 76\); run the exp"):
        store.tensors("abc")


def test_leftovers_of_dead_processes_go_those_of_living_ones_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.prepare()
    here = re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())
    root, dead = tmp_path / "stages", 2**22 + 5
    names = [f"unfinished-{n}-x" for n in (f"{dead}-{here}", f"1-{here}", f"{dead}-elsewhere")]
    for name in names:
        (root / name).mkdir()
    store.prepare()
    assert sorted(path.name for path in root.iterdir()) == sorted(names[1:])


def test_writing_fails_in_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write(path, "\udc80")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_results_know_their_experiment(tmp_path: Path) -> None:
    manifest = {"name": "x", "train": {"epochs": 2, "lr": 0.1}}
    results = Results(tmp_path, manifest)
    results.check()
    results.folder.mkdir()
    results.open()
    Results(tmp_path, manifest).check()
    with pytest.raises(BadInputError, match=r"train\.lr: 0\.1 there, 0\.2 here"):
        Results(tmp_path, {"name": "x", "train": {"epochs": 2, "lr": 0.2}}).check()
    results.save("run", RECORDS)
    assert results.last("run") == RECORDS[-1]
    assert results.last("none") is None
    lines = (results.folder / "run.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [r["stage"] for r in RECORDS]
    (results.folder / "experiment.json").unlink()
    with pytest.raises(BadInputError, match=r"no experiment\.json"):
        results.check()
