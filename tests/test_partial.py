"""A training that is stopped between epochs goes on bit by bit as if it had never been."""

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ssbench.data import Split
from ssbench.data.digits import digits
from ssbench.executors import execute
from ssbench.experiment import Experiment
from ssbench.plan import plan
from ssbench.progress import Quiet
from ssbench.registry import discover
from ssbench.stage import Run, Stage
from ssbench.stopping import STOP, Stopped
from ssbench.storage import Results, Store
from ssbench.training import Epoch
from ssbench.workbench import Bench
from tests.test_resume import TIMES

CASES: dict[str, dict[str, Any]] = {
    "plain": {"name": "dense"},
    "parametrized": {"name": "synaptic-strength", "lambda": 1e-3},
    "gates": {"name": "l0", "budget": {"unit": "params"}},
    "masks in training": {"name": "gradual-magnitude"},
    "slimming": {"name": "network-slimming"},
    "rewound": {"name": "synaptic-strength", "retrain": "weight-rewind"},
    "from scratch": {"name": "magnitude", "retrain": "scratch-b"},
    "two passes": {"name": "gradual-magnitude", "budget": {"passes": 2}},
}


class Watch(Quiet):
    """Does something after epochs, and remembers warnings."""

    def __init__(self, runs: list[Run], act: Callable[[Stage, Epoch], None]) -> None:
        super().__init__(runs, Console(quiet=True))
        self.act = act
        self.warnings: list[str] = []

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        super().epoch(stage, epoch)
        self.act(stage, epoch)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Trial:
    """An experiment on a few images, carried out in this process."""

    def __init__(
        self,
        folder: Path,
        method: dict[str, Any],
        epochs: tuple[int, int] = (4, 3),
        files: Sequence[Path] = (),
        **recipe: Any,
    ) -> None:
        data = digits()
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        few = {name: Split(part.images[:130], part.labels[:130]) for name, part in parts.items()}
        self.bench = Bench(replace(data, **few), torch.device("cpu"))
        common = {"lr": 0.02, "schedule": "one-cycle", "shift": 1, "batch_size": 64} | recipe
        experiment = Experiment.model_validate(
            {
                "name": "x",
                "dataset": "digits",
                "models": ["vgg6"],
                "seeds": [0],
                "budget": {"kept": [0.4]},
                "train": {"epochs": epochs[0], **common},
                "finetune": {"epochs": epochs[1], **common},
                "methods": [method],
            }
        )
        self.experiment = experiment
        self.runs = plan(experiment, discover(files), "data", "x.toml")
        self.store, self.partial = Store(folder / "cache"), Store(folder / "cache", "partial")
        self.results = Results(folder, experiment.manifest)
        self.results.folder.mkdir(parents=True)
        self.store.prepare()

    def go(self, act: Callable[[Stage, Epoch], None], every: float = 1e9) -> Watch:
        watch = Watch(self.runs, act)
        with STOP.signals():
            execute(self.runs, self.bench, self.store, self.results, watch, every)
        return watch

    def last(self) -> dict[str, Any]:
        found = self.results.last(self.runs[0].id)
        assert found
        return found

    def measured(self) -> list[dict[str, Any]]:
        """What the stages measured, in order."""
        return [self.store.record(stage.id) for run in self.runs for stage in run.stages]

    def found(self) -> list[Any]:
        """Weights and measurements of all stages, without times."""
        folders = [Path(self.store.place) / stage.id for run in self.runs for stage in run.stages]
        return [
            [{k: v for k, v in record.items() if k not in TIMES} for record in self.measured()],
            [(folder / "model.safetensors").read_bytes() for folder in folders],
        ]

    def partials(self) -> list[str]:
        return (
            [p.name for p in Path(self.partial.place).glob("*")]
            if Path(self.partial.place).exists()
            else []
        )


def ask(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def quietly(*_: object) -> None:
    pass


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


class Killed(BaseException):
    """Nothing deals with it, as with a signal that nobody can handle."""


def killed_at(trial: Trial, number: int, every: float) -> None:
    def act(_: Stage, epoch: Epoch) -> None:
        if epoch.number == number:
            raise Killed

    with pytest.raises(Killed):
        trial.go(act, every)


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
    save = Store.save
    saved: list[str] = []

    def killing(store: Store, name: str, *given: Any) -> None:
        if store.place.endswith("partial"):
            saved.append(name)
            if len(saved) == 3:
                raise Killed
        save(store, name, *given)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "save", killing)
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
        patched.setattr(Store, "remove", quietly)
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
def test_what_cannot_be_used_is_named_in_one_line_and_the_stage_begins_anew(
    damage: Callable[[Path], None], why: str, two: tuple[Trial, Trial]
) -> None:
    whole, broken = two
    killed_at(broken, 3, every=0.0)
    (slot,) = broken.partials()
    damage(Path(broken.partial.place) / slot)
    watch, numbers = first_epochs(broken)
    assert numbers == [1, 2, 3, 4]
    (warning,) = watch.warnings
    assert "begins anew" in warning
    assert why in warning
    assert "\n" not in warning
    assert broken.found() == whole.found()
    assert broken.partials() == []


def test_what_cannot_be_saved_can_be_trained(
    two: tuple[Trial, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = two
    save = Store.save

    def full(store: Store, *given: Any) -> None:
        if store.place.endswith("partial"):
            raise OSError(28, "No space left on device")
        save(store, *given)

    monkeypatch.setattr(Store, "save", full)
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


def test_a_training_that_memory_is_short_for_can_be_gone_on_with(
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
