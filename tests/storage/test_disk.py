"""A disk that is full, read-only or emptied in mid-run: one message, and the run goes on later."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssbench.errors import BadInputError
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.files import write
from ssbench.storage.folders import LocalFolderStore
from ssbench.storage.records import read_file
from ssbench.storage.results import Results
from tests.support.command_line import Invoke
from tests.support.paths import RECORDS
from tests.support.processes import content, ended, prepared, results, ssbench


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Limit the size of files in this process, like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_full_disk_ends_a_run_with_one_message_and_it_goes_on_later(
    tiny: Path, invoke: Invoke
) -> None:
    with at_most(300_000):  # a checkpoint has 1.2 MB, a record 8 KB
        full = invoke("run", tiny, "--quiet")
    assert full.code == 2
    (line,) = full.err.splitlines()
    assert "results/.cache/stages: the disk is full (" in line
    assert "free some space, or choose another folder, and start again" in line
    assert list(Path("results/.cache/stages").iterdir()) == []
    assert not [p for p in Path("results/.cache/locks").rglob("*") if p.is_file()]
    assert list(Path("results/tiny").glob("*.jsonl")) == []
    assert invoke("run", tiny, "--quiet").code == 0
    assert len(content(Path("results/tiny"))) == 3


def test_a_record_that_has_no_room_leaves_what_was_there(tmp_path: Path) -> None:
    results = Results(tmp_path, {"name": "x"})
    results.folder.mkdir()
    results.save("first", RECORDS)
    (results.folder / "second.jsonl").write_text("damaged")
    before = everything(tmp_path)
    with at_most(1000):
        for call in (
            lambda: results.save("third", RECORDS),
            lambda: write(results.folder / "first.jsonl", "x" * 2000),
        ):
            with pytest.raises(BadInputError, match="the disk is full"):
                call()
        assert everything(tmp_path) == before
        with pytest.raises(BadInputError, match="the disk is full"):
            results.save("second", RECORDS)
    assert everything(tmp_path) == before
    results.save("second", RECORDS)
    assert (results.folder / "second.jsonl.damaged").read_text() == "damaged"
    assert read_file(results.folder / "second.jsonl")


def test_folders_that_are_removed_in_mid_run_are_made_again(tmp_path: Path) -> None:
    store, results = CheckpointStore(tmp_path / "cache"), Results(tmp_path, {"name": "x"})
    store.prepare()
    results.folder.mkdir()
    results.open()
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(results.folder)
    with store.lock("abc"):
        shutil.rmtree(tmp_path / "cache")
        store.save("abc", {}, {"loss": 1})
    assert store.record("abc") == {"loss": 1}
    results.save("run", RECORDS)
    assert sorted(path.name for path in results.folder.iterdir()) == [
        "experiment.json",
        "run.jsonl",
    ]


def test_a_cache_that_is_removed_while_a_stage_is_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, removed = LocalFolderStore.put, iter([tmp_path / "stages"])

    def put_later(shelf: LocalFolderStore, name: str, files: Path) -> None:
        for folder in removed:
            shutil.rmtree(folder)
        put(shelf, name, files)

    monkeypatch.setattr(LocalFolderStore, "put", put_later)
    store = CheckpointStore(tmp_path)
    store.prepare()
    store.save("abc", {}, {"loss": 1})
    assert next(removed, None) is None
    store.check("abc")


def removed_when(process: subprocess.Popen[str], folder: Path, files: int) -> bool:
    """Remove a folder once it has a number of files; return whether the process was running."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        # Path.rglob fails where a folder goes while it looks.
        if sum(len(folders) + len(names) for _, folders, names in os.walk(folder)) >= files:
            shutil.rmtree(folder, ignore_errors=True)
            return True
        time.sleep(0.001)
    return False


@pytest.mark.exhaustive
@pytest.mark.parametrize("concurrency", ["1", "2"])
@pytest.mark.parametrize(
    ("part", "files"), [(".cache", 4), (".cache", 17), ("", 25), ("kill", 3), (".cache", 40)]
)
def test_what_is_removed_in_mid_run_is_computed_again(
    part: str, files: int, concurrency: str, tmp_path: Path
) -> None:
    alone, shared = prepared(tmp_path / "alone"), prepared(tmp_path / "shared")
    assert ended(ssbench(alone)) == (0, "")
    process = ssbench(shared, "--concurrency", concurrency)
    assert removed_when(process, shared / "results" / part, files)
    code, err = ended(process)
    assert "Traceback" not in err
    if code:  # it was removed just while something was written
        assert code == 2
        assert err.startswith("error: ")
        assert ended(ssbench(shared))[0] == 0
    assert results(shared) == results(alone)


UNSHARED = """
set -e
mkdir -p results && mount -t tmpfs -o size={size}k tmpfs results
set +e
{python} -m ssbench run kill.toml --quiet --method-file counted.py {options} 2> first.txt
echo $? > first.code
set -e
find results -name '*.jsonl' -exec cat {{}} + > first.jsonl
mount -o remount,{then} results
set +e
{python} -m ssbench run kill.toml --quiet --method-file counted.py {options} 2> second.txt
echo $? > second.code
set -e
cp -r results copied && umount results && rmdir results && mv copied results
"""


def unshared(folder: Path, size: int, then: str, options: str = "") -> None:
    script = UNSHARED.format(size=size, then=then, options=options, python=sys.executable)
    command = ["unshare", "-rm", "bash", "-c", script]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def may_mount() -> bool:
    try:
        return subprocess.run(["unshare", "-rm", "true"], check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.exhaustive
@pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("options", ["", "--concurrency 2"])
def test_a_small_disk_fills_up_at_every_point(tmp_path: Path, options: str) -> None:
    alone = prepared(tmp_path / "alone")
    assert ended(ssbench(alone)) == (0, "")
    whole = results(alone)
    codes = []
    for size in (100, 1200, 2500, 6000, 12_000, 20_000, 26_000, 28_000):
        folder = prepared(tmp_path / f"disk{size}")
        unshared(folder, size, "size=200m", options)
        code, err = (folder / "first.code").read_text(), (folder / "first.txt").read_text()
        codes.append(code.strip())
        assert "Traceback" not in err
        if code.strip() != "0":
            assert code.strip() == "2", err
            (line,) = err.splitlines()
            assert "results" in line
            assert "the disk is full" in line or "cannot be written" in line
        for text in (folder / "first.jsonl").read_text().splitlines():
            assert text.startswith("{")
            assert text.endswith('"}')
        assert (folder / "second.code").read_text().strip() == "0"
        assert (folder / "second.txt").read_text() == ""
        assert results(folder) == whole
    assert codes.count("2") >= 4


@pytest.mark.exhaustive
@pytest.mark.skipif(not may_mount(), reason="no file system can be mounted here")
def test_read_only_results_are_reported(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "disk")
    unshared(folder, 200_000, "ro")
    assert (folder / "first.code").read_text().strip() == "0"
    # Nothing was to be done, but the folder must be writable for a run.
    assert (folder / "second.code").read_text().strip() == "2"
    (line,) = (folder / "second.txt").read_text().splitlines()
    assert "cannot be written (Read-only file system); choose another with --results" in line
