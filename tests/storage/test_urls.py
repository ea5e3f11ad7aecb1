"""A cache behind a URL: what has a manifest is complete, and everything else is not there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from ssbench.errors import BadInputError, DamagedError
from ssbench.paths import install
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.storage.url_folders import UrlFolderStore
from tests.support.command_line import Invoke
from tests.support.processes import content, ended, prepared, results, ssbench, trained


class BucketFileSystem(MemoryFileSystem):
    """An object store: keys and values, no folders, nothing is renamed."""

    protocol = "bucket"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fails = ""

    def mv(self, *_: object, **__: object) -> None:
        raise NotImplementedError("an object store cannot rename")

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "w" in mode and self.fails and self.fails in path:
            raise ConnectionError("reset by peer")
        return super()._open(path, mode, **options)

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        if self.fails and self.fails in path:
            raise ConnectionError("reset by peer")
        super().pipe_file(path, value, **options)


fsspec.register_implementation("bucket", BucketFileSystem, clobber=True)
KINDS = ("file", "local", "memory", "bucket")
TENSORS = {"w": torch.arange(6.0).reshape(2, 3), "held:w": torch.tensor([True, False])}


@pytest.fixture(params=KINDS)
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for memory in (MemoryFileSystem, BucketFileSystem):
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]
    yield f"{request.param}://{tmp_path}/bucket"
    BucketFileSystem.fails = ""


def test_a_stage_comes_back_from_every_kind_of_store(url: str) -> None:
    store = CheckpointStore(url)
    store.prepare()
    assert isinstance(store.shelf, UrlFolderStore)
    assert not store.has("abc")
    with pytest.raises(DamagedError, match="no longer there"):
        store.record("abc")
    store.save("abc", TENSORS, {"loss": 0.25})
    assert CheckpointStore(url).has("abc")
    assert CheckpointStore(url).record("abc") == {"loss": 0.25}
    loaded = CheckpointStore(url).tensors("abc")
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    files = store.shelf.files.find(store.shelf.root)
    store.save("abc", TENSORS, {"loss": 9.0})  # another machine was faster: the first stays
    assert store.record("abc") == {"loss": 0.25}
    assert store.shelf.files.find(store.shelf.root) == files
    with store.lock("abc"), pytest.raises(BusyError), CheckpointStore(url).lock("abc"):
        pass
    store.remove("abc")
    assert not store.has("abc")
    assert store.shelf.files.find(store.shelf.root) == []
    store.remove("abc")


@pytest.mark.parametrize("file", ["model.safetensors", "record.json", "manifest.json"])
def test_what_is_damaged_behind_a_url_is_found(url: str, file: str) -> None:
    store = CheckpointStore(url)
    store.prepare()
    store.save("abc", TENSORS, {"loss": 0.25})
    assert isinstance(store.shelf, UrlFolderStore)
    files = store.shelf.files
    (path,) = (path for path in files.find(store.shelf.root) if path.endswith(file))
    whole = files.cat_file(path)
    for harmed in (whole[:-3], whole[:9] + bytes([whole[9] ^ 1]) + whole[10:], b""):
        files.pipe_file(path, harmed)
        with pytest.raises(DamagedError, match=re.escape(file)):
            store.check("abc")
    files.pipe_file(path, whole)
    store.check("abc")
    files.rm_file(path)
    with pytest.raises(DamagedError):
        store.check("abc")


@pytest.mark.parametrize("fails", ["model.safetensors", "record.json", "manifest.json"])
def test_an_upload_that_breaks_off_leaves_nothing_that_counts(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = CheckpointStore(f"bucket://{tmp_path}/broken")
    store.prepare()
    monkeypatch.setattr(BucketFileSystem, "fails", fails)
    with pytest.raises(BadInputError, match="ConnectionError: reset by peer; see to the address"):
        store.save("abc", TENSORS, {"loss": 0.25})
    assert not store.has("abc")
    monkeypatch.setattr(BucketFileSystem, "fails", "")
    store.save("abc", TENSORS, {"loss": 0.25})
    store.check("abc")


def test_of_two_writers_at_once_one_whole_stage_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is done just before this one writes its manifest: no lock spans two machines."""
    monkeypatch.setenv("HOME", str(tmp_path))
    store = CheckpointStore(f"bucket://{tmp_path}/race")
    store.prepare()
    others = iter([{"by": 1}])

    def race(_: UrlFolderStore, name: str) -> bool:
        for record in others:
            store.save(name, {"w": torch.ones(3)}, record)
        return False

    with monkeypatch.context() as blind:
        blind.setattr(UrlFolderStore, "has", race)
        store.save("abc", {"w": torch.zeros(3)}, {"by": 0})
    store.check("abc")
    assert store.tensors("abc")["w"].tolist() == [store.record("abc")["by"]] * 3


def test_a_folder_and_its_url_are_the_same_cache(tmp_path: Path) -> None:
    plain, url = CheckpointStore(tmp_path), CheckpointStore(f"file://{tmp_path}")
    plain.prepare()
    plain.save("one", TENSORS, {"loss": 1})
    url.save("two", TENSORS, {"loss": 2})
    assert url.record("one") == {"loss": 1}
    assert plain.record("two") == {"loss": 2}
    assert set(plain.tensors("two")) == set(TENSORS)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nowhere://bucket/x", ("--cache nowhere://bucket/x", "install")),
        ("s3://bucket/x", ("--cache s3://bucket/x", install("s3"))),
        ("file:///proc/no/such", ("see to the address",)),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(
    url: str, words: tuple[str, ...], tiny: Path, invoke: Invoke
) -> None:
    ended_ = invoke("run", tiny, "--cache", url)
    assert ended_.code == 2
    assert all(word in ended_.err for word in words)
    assert "Traceback" not in ended_.err


def test_a_run_keeps_its_stages_behind_a_url(
    tmp_path: Path, tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache = f"memory://{tmp_path}"
    refused = invoke("run", tiny, "--cache", cache, "--concurrency", "2")
    assert refused.code == 2
    assert "only this process sees it" in refused.err
    assert invoke("run", tiny, "--cache", cache, "--quiet").code == 0
    assert not Path("results/.cache").exists()
    before = content(Path("results/tiny"))
    (path, *_) = Path("results/tiny").glob("*magnitude*.jsonl")
    exported = invoke("export", path.stem, "--to", "small", "--cache", cache)
    assert (exported.code, exported.err) == (0, "")
    path.unlink()
    stamp = invoke("run", tiny, "--cache", cache, "--dry-run").out
    assert "to do: 0 stages" in stamp
    assert invoke("run", tiny, "--cache", cache, "--quiet").code == 0
    assert content(Path("results/tiny")) == before


@pytest.mark.exhaustive
def test_two_processes_share_a_cache_behind_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    alone, shared = prepared(tmp_path / "alone"), prepared(tmp_path / "shared")
    assert ended(ssbench(alone)) == (0, "")
    options = ("--cache", f"file://{tmp_path}/cache")
    two = [
        ssbench(shared, *options),
        ssbench(shared, *options, "--concurrency", "2", "--set", "name=other"),
    ]
    assert [ended(process) for process in two] == [(0, ""), (0, "")]
    assert results(shared) == results(alone)
    assert trained(shared) == {"train": 2, "scores": 4}
