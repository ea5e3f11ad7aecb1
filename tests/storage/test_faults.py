"""Nothing is left behind, hidden or repeated, whatever ends a process or a folder."""

import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssbench.analysis.frame import load_results
from ssbench.errors import BadInputError, DamagedError
from ssbench.executors.coordinator import Coordinator
from ssbench.executors.stage_runner import failed_elsewhere
from ssbench.experiment.plan import LONGEST, plan
from ssbench.method.registry import discover
from ssbench.storage import files
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.jsonl import dump
from ssbench.storage.locks import BusyError, hold
from ssbench.storage.records import folders_below, read_runs
from ssbench.storage.results import Results
from ssbench.training.provenance import extended
from ssbench.tuning.trials import Log
from tests.support.command_line import Invoke
from tests.support.paths import RECORDS
from tests.support.trials import CASES, Trial, Watch, killed_at, quietly

DEAD = 2**22 + 5
"""No process has this number."""


def test_a_lock_file_that_became_anothers_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "stage"
    with hold(path):
        shutil.rmtree(tmp_path / "locks")  # the cache, by someone
        path.parent.mkdir()
        with path.open("w") as other:  # whoever came next
            inode = os.fstat(other.fileno()).st_ino
    assert path.stat().st_ino == inode
    with hold(path), pytest.raises(BusyError), hold(path):
        pass


def test_what_a_killed_process_was_writing_beside_records_goes(tmp_path: Path) -> None:
    results = Results(tmp_path, {"name": "x"})
    results.folder.mkdir()
    prefix = files.owned(".run.jsonl")
    gone = prefix.replace(f"-{os.getpid()}-", f"-{DEAD}-") + "abc_123"
    elsewhere = f".run.jsonl-{DEAD}-{socket.gethostname()}0-abc"
    kept = {prefix + "abc", elsewhere, ".rendered", ".mine-12"}
    for name in {gone, *kept}:
        (results.folder / name).write_text("half")
    results.open()
    assert {path.name for path in results.folder.iterdir()} == kept | {"experiment.json"}


def test_a_name_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    results, name = Results(tmp_path, {"name": "é" * 100}), "ü" * 120 + "x" * 9
    assert len(f"{name}.jsonl".encode()) == 255
    results.folder.mkdir()
    results.save(name, RECORDS)
    assert results.last(name) == RECORDS[-1]


def test_the_path_of_a_data_set_makes_no_name_too_long(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CASES["plain"])
    folder = "imagefolder:/" + "deep" * 60
    experiment = trial.experiment.model_copy(update={"dataset": folder})
    runs = plan(experiment, discover(), "data", "x.toml")
    assert all(len(f"{run.id}.jsonl.other-version-999") <= 255 for run in runs)
    other = trial.experiment.model_copy(update={"dataset": folder + "x"})
    again = plan(other, discover(), "data", "x.toml")
    assert {run.id[:LONGEST] for run in runs} == {run.id[:LONGEST] for run in again}
    assert not {run.id for run in runs} & {run.id for run in again}


def failing(trial: Trial) -> list[list[dict[str, object]]]:
    """What another process writes that saw the first stage of all runs fail."""
    stage = trial.runs[0].stages[0]
    ends = {"status": "failed", "reason": "train: diverged", "stage_id": stage.id}
    return [[RECORDS[-1] | {"run": run.id, "diverged_epoch": 3} | ends] for run in trial.runs]


SHARED = {"name": "magnitude", "budget": {"kept": [0.4, 0.2, 0.1], "protection": 0.0}}


def test_what_failed_in_another_process_is_not_tried_again(tmp_path: Path) -> None:
    trial = Trial(tmp_path, SHARED)
    first, second, third = trial.runs
    written = failing(trial)

    Results(tmp_path, trial.experiment.manifest).save(first.id, written[0])
    own = trial.results
    own.watch()
    assert own.failure(first.stages[0].id) is None  # from before
    Results(tmp_path, trial.experiment.manifest).save(second.id, written[1])
    clerk = Coordinator([third], trial.store, own, Watch(trial.runs, quietly))
    assert failed_elsewhere(own, first.stages[0]) is None  # it looks from now on
    Path(own.folder, f"{second.id}.jsonl").unlink()
    own.watch()
    Results(tmp_path, trial.experiment.manifest).save(second.id, written[1])
    clerk.drive(SimpleNamespace(room=lambda: True))  # nothing is submitted
    last = own.last(third.id)
    assert last
    assert (last["status"], last["reason"]) == ("failed", "train: diverged")
    assert (last["stage"], last["diverged_epoch"]) == ("train", 3)
    assert clerk.outcome.failed == {third.id: "train: diverged"}


def test_a_failure_that_is_seen_while_others_are_at_work_ends_the_runs_here(
    tmp_path: Path,
) -> None:
    trial = Trial(tmp_path, SHARED)
    began: list[str] = []

    watch = Results.watch

    def watched(of: Results) -> None:
        watch(of)
        Results(tmp_path, trial.experiment.manifest).save(trial.runs[0].id, failing(trial)[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Results, "watch", watched)
        trial.go(lambda stage, _: began.append(stage.id))
    assert began == []
    ends = [trial.results.last(run.id) for run in trial.runs]
    assert [end and end["reason"] for end in ends] == ["train: diverged"] * 3


def test_other_thread_counts_are_reported_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, threads = Trial(tmp_path, CASES["plain"], (3, 1)), torch.get_num_threads()
    killed_at(trial, 2, every=0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)  # as many would be slow
    watch = trial.go(quietly)
    (line,) = watch.warnings
    assert f"resumes with {threads + 1} threads after {threads}" in line
    train, finetune = trial.measured()
    assert [(o["epochs"], o["threads"], o["devices"]) for o in train["trained_on"]] == [
        (1, threads, 1),
        (2, threads + 1, 1),
    ]
    assert finetune["trained_on"] is None
    assert read_runs(trial.results.folder)[0].stages[0].trained_on == train["trained_on"]


def test_origins_add_up() -> None:
    one, two = ({"epochs": 0, "threads": n, "devices": 1, "device_name": "x"} for n in (1, 2))
    found = extended([], one, 0)
    for here, epochs in ((one, 2), (one, 3), (two, 3), (two, 7), (one, 8)):
        found = extended(found, here, epochs)
    assert [(each["epochs"], each["threads"]) for each in found] == [(3, 1), (4, 2), (1, 1)]


@pytest.mark.parametrize("content", [b"[]", b"[" * 100_000, b"\xff", b'"x"', b""])
def test_a_stages_record_that_is_none_is_damaged(content: bytes, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    (tmp_path / "stages" / "abc").mkdir(parents=True)
    (tmp_path / "stages" / "abc" / "record.json").write_bytes(content)  # from before manifests
    with pytest.raises(DamagedError, match="damaged"):
        store.record("abc")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b'{"value": NaN}'])
def test_a_hostile_file_of_trials_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"line 1: not a trial .* remove the file"):
        Log(path)


def test_of_two_that_tune_one_experiment_the_second_is_refused(tiny: Path, invoke: Invoke) -> None:
    text = tiny.read_text().split("methods =")[0]
    tiny.write_text(text + 'methods = [{ name = "network-slimming" }]\n')
    lock = Path("results/tiny/tuning/lock")
    with hold(lock):
        refused = invoke("tune", tiny, "--trials", "1", "--quiet")
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert f"process {os.getpid()} on " in line
    assert "tunes this experiment; wait for it, or give this one another --results" in line
    assert not list(Path("results/tiny/tuning/trials").iterdir())


def test_an_experiment_that_is_set_aside_or_closed_is_missed(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / "run.jsonl").write_text(dump(RECORDS))
    both = tmp_path / "both"
    assert folders_below(both) == [both / "a", both / "b"]
    (both / "a" / "run.jsonl").rename(both / "a" / "run.jsonl.damaged")
    refused = invoke("report", both)
    assert refused.code == 2
    assert "run.jsonl.damaged: set aside and not computed again" in refused.err
    with pytest.raises(DamagedError):
        load_results(both)

    scan = os.scandir

    def closed(path: str) -> object:
        if Path(path) == both / "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)  # whom root runs, nothing is closed to
    refused = invoke("report", both)
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert f"{both / 'a'}: Permission denied; check its owner and mode" in line
