"""What follows a pruning: rewinding, scratch; and pruning before or during training."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ssbench.errors import BadInputError
from ssbench.experiment.plan import plan
from ssbench.experiment.retraining import RETRAINS, retraining, scratch_b
from ssbench.experiment.spec import load
from ssbench.method.contract import offer
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pipeline.state import State
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.recipe import Recipe
from tests.support.command_line import Invoke

EXPERIMENT = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = {{ unit = "params", kept = [0.3], protection = 0.0 }}
train = {{ epochs = {train}, lr = 0.05, schedule = "constant" }}
finetune = {{ epochs = 1, lr = 0.02, schedule = "constant" }}
methods = [{methods}]
"""
ALL = ", ".join(f'"{name}"' for name in RETRAINS)


def run(invoke: Invoke, folder: Path, methods: str, *options: object, train: int = 2) -> Path:
    file = folder / "tried.toml"
    file.write_text(EXPERIMENT.format(train=train, methods=methods))
    ended = invoke("run", file, "--results", folder, "--quiet", *options)
    assert ended.code == 0, ended.err
    return folder / "tried"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def states(folder: Path, stages: list[dict[str, Any]]) -> list[State]:
    store = CheckpointStore(folder / ".cache")
    return [State.of(store.tensors(stage["stage_id"])) for stage in stages]


def test_a_rewound_schedule_is_the_end_of_the_training_s() -> None:
    train = Recipe(epochs=8, lr=0.3, schedule="cosine")
    finetune = Recipe(epochs=2, lr=0.01)
    assert retraining("finetune", train, finetune) == finetune
    rewound = retraining("lr-rewind", train, finetune)
    assert (rewound.epochs, rewound.lr) == (2, 0.3)
    for done in (0.0, 0.25, 0.5, 1.0):
        assert rewound.rate(done) == pytest.approx(train.rate((6 + 2 * done) / 8))
    longer = retraining("weight-rewind", Recipe(epochs=2), Recipe(epochs=3))
    assert (longer.epochs, longer.begin) == (3, 0.0)


def test_scratch_b_costs_what_the_dense_network_costs() -> None:
    recipe = Recipe(epochs=30)
    assert scratch_b(recipe, 900, 600, 2.0).epochs == 45
    assert scratch_b(recipe, 900, 100, 2.0).epochs == 60
    assert scratch_b(recipe, 900, 100, 20.0).epochs == 270


@pytest.mark.parametrize("method", ["magnitude", "synaptic-strength", "l0"])
def test_rewound_weights_are_those_of_the_epoch_gone_back_to(
    method: str, invoke: Invoke, tmp_path: Path
) -> None:
    entry = f'{{ name = "{method}", retrain = "weight-rewind" }}'
    (tmp_path / "short").mkdir()
    folder = run(invoke, tmp_path, entry)
    (path,) = folder.glob("*.jsonl")
    train, prune, final = states(tmp_path, read(path))
    # One epoch alone, of the same seeds and a constant rate, ends where the copy was taken.
    short = run(invoke, tmp_path / "short", entry, train=1)
    (path,) = short.glob("*.jsonl")
    alone = states(tmp_path / "short", read(path))[0].weights
    assert train.early.keys() == alone.keys()
    for name, tensor in alone.items():
        assert torch.equal(train.early[name], tensor), name
    cls = discover().methods[method].cls()
    attached, plain = MODELS["vgg6"](1, 10), MODELS["vgg6"](1, 10)
    offer(cls.attach, attached)
    attached.load_state_dict(alone)
    plain.load_state_dict(prune.early)
    images = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(attached.eval()(images), plain.eval()(images), atol=1e-5, rtol=1e-5)
    assert any(not torch.equal(prune.early[n], prune.weights[n]) for n in prune.early)
    for name, mask in prune.zeros.items():
        assert not final.weights[name][~mask].any(), name


def test_every_retraining_of_one_pruning(invoke: Invoke, tmp_path: Path) -> None:
    methods = (
        f'{{ name = "magnitude", grain = "connection", retrain = [{ALL}] }},'
        '{ name = "dense", retrain = ["finetune", "scratch-e"] }'
    )
    folder = run(invoke, tmp_path, methods)
    found = {(r[-1]["method"], r[-1]["retrain"]): r for r in map(read, folder.glob("*.jsonl"))}
    assert len(found) == len(RETRAINS) + 2
    pruned = {retrain: stages for (name, retrain), stages in found.items() if name == "magnitude"}
    assert len({stages[1]["stage_id"] for stages in pruned.values()}) == 1  # pruned once
    assert len({stages[-1]["test_loss"] for stages in pruned.values()}) == len(RETRAINS)
    total = {retrain: stages[-1]["epochs_total"] for retrain, stages in pruned.items()}
    left = pruned["scratch-b"][-1]
    longer = round(3 * min(left["macs_dense"] / left["macs_nonzero"], 2))
    assert longer > 3
    assert total == {
        "finetune": 3, "lr-rewind": 3, "weight-rewind": 3, "scratch-e": 5,
        "scratch-b": 2 + longer,
    }  # fmt: skip
    assert left["epochs"] == longer
    assert {stages[-1]["label"] for stages in pruned.values()} == {
        f"magnitude (connection, {retrain})" for retrain in RETRAINS
    }
    (dense,) = found["dense", "scratch-e"]
    assert dense["epochs_total"] == 3
    assert dense["params_nonzero"] == dense["params_dense"]
    assert dense["norm_ops_dense"] == found["dense", "finetune"][-1]["norm_ops_dense"]
    scratch, kept = (states(tmp_path, pruned[name])[-1] for name in ("scratch-e", "finetune"))
    assert scratch.zeros.keys() == kept.zeros.keys()
    assert all(torch.equal(scratch.zeros[n], kept.zeros[n]) for n in kept.zeros)
    for name, mask in scratch.zeros.items():
        assert not scratch.weights[name][~mask].any()


def test_trainings_are_shared_whether_or_not_weights_are_rewound(tmp_path: Path) -> None:
    path = tmp_path / "shared.toml"
    entry = f'{{ name = "magnitude", retrain = [{ALL}] }}, {{ name = "random" }}'
    path.write_text(EXPERIMENT.format(train=2, methods=entry))
    made = plan(load(path), discover(), "data", path.name)
    assert len({run.stages[0].id for run in made}) == 1
    assert len({run.stage.id for run in made}) == len(made) == len(RETRAINS) + 1


def test_iterative_rewinding_goes_back_in_every_pass(invoke: Invoke, tmp_path: Path) -> None:
    entry = '{ name = "magnitude", retrain = "weight-rewind", budget = { passes = 2 } }'
    folder = run(invoke, tmp_path, entry)
    (path,) = folder.glob("*.jsonl")
    stages = read(path)
    assert [stage["stage"] for stage in stages] == ["train", "prune", "train", "prune", "finetune"]
    assert [stage["epochs"] for stage in stages] == [2, 0, 1, 0, 1]
    first, pruned, _, again, _ = states(tmp_path, stages)
    for name, tensor in again.early.items():
        assert torch.equal(tensor, pruned.early[name]), name
        assert torch.equal(tensor, first.early[name]), name


WHILE = '''
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ssbench.method import Grain, Method, Pruning, Scores, prunable_weights


@dataclass(frozen=True, kw_only=True)
class While(Method):
    """Halve what is left at a third and at two thirds of the training."""

    grain: ClassVar[Grain] = "weight"

    def after_step(
        self, model: nn.Module, progress: float, *, pruning: Pruning | None = None
    ) -> None:
        if pruning is not None and progress in (0.25, 0.5):
            pruning.to(1 - (1 - pruning.kept) * progress)

    def scores(self, model: nn.Module) -> Scores:
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''
BEFORE = '''
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssbench.method import Batches, Grain, Method, Scores, prunable_weights


@dataclass(frozen=True, kw_only=True)
class Before(Method):
    """Take the largest weights of the untrained network, in rounds."""

    before_training: ClassVar[bool] = True
    grain: ClassVar[Grain] = "weight"
    rounds: int = 3

    def scores(
        self, model: nn.Module, *, batches: Batches | None = None, example: Tensor | None = None
    ) -> Scores:
        if "ssbench.executors.processes.trial" in sys.modules:  # two images of noise
            return {name: weight.abs() for name, weight in prunable_weights(model).items()}
        assert batches is not None and example is not None
        images, labels = next(iter(batches()))
        assert images.shape[1:] == example.shape[1:] and len(labels.unique()) > 5
        seen = {name: weight.abs() for name, weight in prunable_weights(model).items()}
        empty = sum(int((score == 0).sum()) for score in seen.values())
        share = empty / sum(score.numel() for score in seen.values())
        with Path(__file__).with_name("empty.txt").open("a") as file:
            print(share, file=file)
        return seen

'''


def test_a_method_can_prune_while_it_trains(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "while.py").write_text(WHILE)
    folder = run(
        invoke, tmp_path, '{ name = "while", budget = { kept = [0.3, 0.2] } }',
        "--method-file", tmp_path / "while.py",
    )  # fmt: skip
    runs = {stages[0]["budget_asked"]: stages for stages in map(read, folder.glob("*.jsonl"))}
    assert len({stages[0]["stage_id"] for stages in runs.values()}) == 2  # one training each
    for kept, stages in runs.items():
        train, prune, final = states(tmp_path, stages)
        # The last pruning in training was at half of it: 1 - (1 - kept)/2 of all params stay.
        zeros = sum(int((~mask).sum()) for mask in train.zeros.values())
        share = 1 - zeros / stages[-1]["params_dense"]
        assert share == pytest.approx(1 - (1 - kept) * 0.5, rel=0.005)
        assert stages[-1]["params_nonzero"] / stages[-1]["params_dense"] == pytest.approx(
            kept, rel=0.005
        )
        for name, mask in train.zeros.items():
            assert not train.weights[name][~mask].any()
            assert not (prune.zeros[name] & ~mask).any()
            assert not final.weights[name][~mask].any()


def test_a_method_can_prune_before_training_and_in_rounds(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "before.py").write_text(BEFORE)
    folder = run(
        invoke, tmp_path, '{ name = "before" }, { name = "magnitude" }',
        "--method-file", tmp_path / "before.py",
    )  # fmt: skip
    (path,) = folder.glob("*before*.jsonl")
    stages = read(path)
    assert [stage["stage"] for stage in stages] == ["prune", "finetune"]
    (other,) = folder.glob("*magnitude*.jsonl")
    assert stages[-1]["epochs_total"] == read(other)[-1]["epochs_total"] == 3
    pruned, final = states(tmp_path, stages)
    initial = states(tmp_path, read(other))[0].early
    assert not initial  # nobody rewinds here
    assert any(not torch.equal(final.weights[n], pruned.weights[n]) for n in final.weights)
    for name, mask in pruned.zeros.items():
        assert not final.weights[name][~mask].any()


def test_between_rounds_what_was_pruned_is_zero(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "before.py").write_text(BEFORE)
    run(invoke, tmp_path, '{ name = "before" }', "--method-file", tmp_path / "before.py")
    seen = [float(line) for line in (tmp_path / "empty.txt").read_text().splitlines()]
    assert len(seen) == 3
    assert seen[0] == 0
    assert seen[1] == pytest.approx(1 - 0.3 ** (1 / 3), abs=0.02)
    assert seen[2] == pytest.approx(1 - 0.3 ** (2 / 3), abs=0.02)


REFUSED = [
    ('{ name = "dense", retrain = "lr-rewind" }', "methods.0.retrain", "prunes nothing"),
    ('{ name = "magnitude", retrain = "rewind" }', "methods.0.retrain", "'finetune'"),
    ('{ name = "magnitude", retrain = [] }', "methods.0.retrain", "empty sweep"),
    ('{ name = "magnitude", models = ["vgg7"] }', "methods.0.models", "vgg6"),
    ('{ name = "magnitude", models = [] }', "methods.0.models", "empty"),
    ('{ name = "before", retrain = "weight-rewind" }', "methods.0.retrain", "before training"),
    ('{ name = "before", budget = { passes = 2 } }', "methods.0.budget.passes", "must be 1"),
    ('{ name = "while", budget = { kept = "own" } }', "methods.0.budget.kept", "needs a share"),
]


@pytest.mark.parametrize(("entry", "place", "says"), REFUSED)
def test_what_has_no_meaning_is_refused(entry: str, place: str, says: str, tmp_path: Path) -> None:
    for name, text in (("before", BEFORE), ("while", WHILE)):
        (tmp_path / f"{name}.py").write_text(text)
    registry = discover([tmp_path / "before.py", tmp_path / "while.py"])
    path = tmp_path / "bad.toml"
    path.write_text(EXPERIMENT.format(train=2, methods=entry))
    with pytest.raises(BadInputError) as caught:
        plan(load(path), registry, "data", path.name)
    assert place in str(caught.value)
    assert says in str(caught.value)


def test_a_method_can_be_kept_to_some_of_the_networks(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    text = EXPERIMENT.format(
        train=2, methods='{ name = "dense" }, { name = "magnitude", models = ["vgg6"] }'
    )
    path.write_text(
        text.replace('models = ["vgg6"]\nseeds', 'models = ["vgg6", "resnet20"]\nseeds')
    )
    made = plan(load(path), discover(), "data", path.name)
    assert {(run.stage.model, run.file.name) for run in made} == {
        ("vgg6", "dense"), ("resnet20", "dense"), ("vgg6", "magnitude"),
    }  # fmt: skip
