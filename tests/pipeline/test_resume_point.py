"""A training stopped between epochs continues bit for bit as if uninterrupted."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ssbench.experiment.stage import Stage
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.interrupt import Stopped
from ssbench.training.loop import Epoch
from tests.support.trials import CASES, Killed, Trial, Watch, ask, killed_at, quietly


def until_done(trial: Trial, act: Callable[[Stage, Epoch], None]) -> list[Stopped]:
    """Start again as often as it is stopped."""
    stops: list[Stopped] = []
    while len(stops) < 100:
        try:
            trial.go(act)
        except Stopped as stopped:
            stops.append(stopped)
        else:
            return stops
        assert len(trial.partials()) == 1
    raise AssertionError


@pytest.mark.parametrize(
    ("case", "optimizer"),
    [*((case, "sgd") for case in CASES), ("parametrized", "adam"), ("gates", "adam")],
)
def test_stopped_after_every_epoch_the_result_is_the_same_in_every_bit(
    case: str, optimizer: str, tmp_path: Path
) -> None:
    whole = Trial(tmp_path / "whole", CASES[case], (3, 2), optimizer=optimizer)
    broken = Trial(tmp_path / "broken", CASES[case], (3, 2), optimizer=optimizer)
    whole.go(quietly)
    epochs: list[tuple[str, int]] = []

    def note_and_ask(stage: Stage, epoch: Epoch) -> None:
        epochs.append((stage.id, epoch.number))
        ask()

    stops = until_done(broken, note_and_ask)
    assert len(stops) == len(epochs) == len(set(epochs))  # none was done twice
    assert {stop.signal for stop in stops} == {signal.SIGINT}
    assert "saved: train, epoch 1 of " in str(stops[0])
    assert broken.found() == whole.found()
    assert broken.partials() == []
    for trial, often in ((whole, 0), (broken, 1)):
        for record in trial.measured():
            if "curve_loss" in record:
                assert record["resumed"] == often * len(record["curve_loss"])
                assert record["seconds_train"] > 0


def first_epochs(trial: Trial) -> tuple[Watch, list[int]]:
    """Go on; return the numbers of the epochs of the first stage that was under way."""
    numbers: list[tuple[str, int]] = []
    watch = trial.go(lambda stage, epoch: numbers.append((stage.id, epoch.number)))
    return watch, [number for stage, number in numbers if stage == numbers[0][0]]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    whole = Trial(tmp_path_factory.mktemp("whole"), CASES["plain"])
    whole.go(quietly)
    return whole


@pytest.fixture
def two(unbroken: Trial, tmp_path: Path) -> tuple[Trial, Trial]:
    """The same experiment twice, once carried out without a break."""
    return unbroken, Trial(tmp_path, CASES["plain"])


def test_killed_in_an_epoch_it_goes_on_from_the_one_before(two: tuple[Trial, Trial]) -> None:
    whole, broken = two
    killed_at(broken, 3, every=0.0)
    assert len(broken.partials()) == 1
    watch, numbers = first_epochs(broken)
    assert numbers == [3, 4]
    assert watch.warnings == []
    assert broken.found() == whole.found()
    assert broken.measured()[0]["resumed"] == 1


def test_seconds_of_all_parts_add_up(two: tuple[Trial, Trial]) -> None:
    _, broken = two
    killed_at(broken, 3, every=0.0)
    (slot,) = broken.partials()
    path = Path(broken.partial.place) / slot / "record.json"
    facts = json.loads(path.read_text())
    assert 0 < facts["seconds"] < 60
    path.write_text(json.dumps(facts | {"seconds": 1000.0, "penalty_seconds": 500.0}))
    (path.parent / "manifest.json").unlink()  # its checksum is that of other seconds
    broken.go(quietly)
    record = broken.measured()[0]
    assert 1000 < record["seconds_train"] < 1060
    assert 500 <= record["seconds_penalty"] < 560
    assert record["images_per_second"] < 1


def test_killed_while_an_epoch_is_written_the_one_before_counts(
    two: tuple[Trial, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = two
    save = CheckpointStore.save
    saved: list[str] = []

    def killing(store: CheckpointStore, name: str, *given: Any) -> None:
        if store.place.endswith("partial"):
            saved.append(name)
            if len(saved) == 3:
                raise Killed
        save(store, name, *given)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointStore, "save", killing)
        with pytest.raises(Killed):
            broken.go(quietly, every=0.0)
    assert first_epochs(broken)[1] == [3, 4]
    assert broken.found() == whole.found()


def test_without_a_request_and_before_the_time_nothing_is_saved(two: tuple[Trial, Trial]) -> None:
    killed_at(two[1], 3, every=1e9)
    assert two[1].partials() == []
    assert first_epochs(two[1])[1] == [1, 2, 3, 4]


def test_killed_before_the_older_one_is_removed_the_newer_one_counts(
    two: tuple[Trial, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = two
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointStore, "remove", quietly)
        killed_at(broken, 3, every=0.0)
    assert len(broken.partials()) == 2
    assert first_epochs(broken)[1] == [3, 4]
    assert broken.found() == whole.found()
    assert broken.partials() == []


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def no_json(folder: Path) -> None:
    (folder / "record.json").write_text("{")


def other(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "record.json"
        facts = json.loads(path.read_text())
        facts["maker"][key] = value
        path.write_text(json.dumps(facts))
        (folder / "manifest.json").unlink()  # whose checksum would tell, too

    return change


def half(folder: Path) -> None:
    (folder / "record.json").unlink()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "damaged"),
        (no_json, "damaged"),
        (half, "record.json"),
        (other("ssbench", "0.0.1"), "made with ssbench 0.0.1"),
        (other("partial", 0), "made with partial 0"),
        (other("torch", "1.0"), "made with torch 1.0"),
        (other("device", "cuda"), "made with device cuda"),
    ],
    ids=["cut", "json", "half", "version", "format", "torch", "device"],
)
def test_what_cannot_be_used_is_named_in_one_line_and_the_stage_starts_again(
    damage: Callable[[Path], None], why: str, two: tuple[Trial, Trial]
) -> None:
    whole, broken = two
    killed_at(broken, 3, every=0.0)
    (slot,) = broken.partials()
    damage(Path(broken.partial.place) / slot)
    watch, numbers = first_epochs(broken)
    assert numbers == [1, 2, 3, 4]
    (warning,) = watch.warnings
    assert "starts from the beginning" in warning
    assert why in warning
    assert "\n" not in warning
    assert broken.found() == whole.found()
    assert broken.partials() == []


def test_what_cannot_be_saved_can_be_trained(
    two: tuple[Trial, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = two
    save = CheckpointStore.save

    def full(store: CheckpointStore, *given: Any) -> None:
        if store.place.endswith("partial"):
            raise OSError(28, "No space left on device")
        save(store, *given)

    monkeypatch.setattr(CheckpointStore, "save", full)
    watch = broken.go(quietly, every=0.0)
    assert "not saved" in watch.warnings[0]
    assert "No space left" in watch.warnings[0]
    assert broken.found() == whole.found()


def test_what_a_kill_left_of_a_finished_stage_is_removed(unbroken: Trial) -> None:
    whole = unbroken
    stage = whole.runs[0].stages[0].id
    whole.partial.prepare()
    for slot in (f"{stage}-0", "otherstage-1"):
        whole.partial.save(slot, {"x": torch.zeros(1)}, {})
    whole.go(quietly)
    assert whole.partials() == ["otherstage-1"]
    whole.partial.remove("otherstage-1")


def test_a_second_request_ends_at_once(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CASES["plain"])

    def twice(*_: object) -> None:
        ask()
        ask()
        raise AssertionError

    with pytest.raises(Stopped) as stopped:
        trial.go(twice)
    assert stopped.value.saved == ()
    assert "finished stages are kept" in str(stopped.value)
    assert trial.partials() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


DIVERGES = """
from dataclasses import dataclass
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Diverges(Method):
    \"\"\"Diverge in the third of four epochs.\"\"\"
    grain = "weight"

    def after_step(self, model, progress):
        if progress > 0.6:
            for weight in prunable_weights(model).values():
                weight.mul_(float("inf"))

    def scores(self, model):
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
"""


def test_a_training_that_diverges_leaves_nothing_and_diverges_again(tmp_path: Path) -> None:
    (tmp_path / "diverges.py").write_text(DIVERGES)
    found = []
    for name, number in (("whole", None), ("broken", 2)):
        trial = Trial(tmp_path / name, {"name": "diverges"}, files=[tmp_path / "diverges.py"])
        if number:
            killed_at(trial, number, every=0.0)
            assert trial.partials() != []
        trial.go(quietly, every=0.0)
        assert trial.partials() == []
        found.append({key: trial.last()[key] for key in ("status", "reason", "diverged_epoch")})
    assert found[0] == found[1]
    assert found[0]["diverged_epoch"] == 3
    assert found[0]["status"] == "failed"
    assert "in epoch 3 of 4" in found[0]["reason"]


def test_a_training_short_of_memory_can_be_resumed(
    two: tuple[Trial, Trial],
) -> None:
    whole, broken = two

    def short(_: Stage, epoch: Epoch) -> None:
        if epoch.number == 3:
            raise MemoryError("no room")

    broken.go(short, every=0.0)
    assert "out of memory (no room)" in broken.last()["reason"]
    assert len(broken.partials()) == 1
    broken.results.forget_failed(run.id for run in broken.runs)
    assert first_epochs(broken)[1] == [3, 4]
    assert broken.found() == whole.found()
