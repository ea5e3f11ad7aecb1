"""What is done otherwise on a GPU, on a pretended one: see `tests.support.pretended_gpu`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from ssbench.data.dataset import DataSet
from ssbench.experiment.stage import Run
from ssbench.method.contract import module_of, offer, prunable_layers
from ssbench.pipeline.stages import Record, carry_out
from ssbench.pipeline.state import Tensors
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.masking import keep_masked
from ssbench.training.checkpoint import Checkpointer, TrainingState
from ssbench.training.loop import Hooks, train
from ssbench.training.recipe import Recipe
from tests.support.command_line import Invoke
from tests.support.fake_cuda import CPU, CUDA, REGISTRY, dataset, images, runs
from tests.support.pretended_gpu import OnDevice, Pretended, pretended

QUICK = ("gradual-magnitude", "grasp", "l0")
"""These do most things; the others are tried with the exhaustive tests."""
DIFFERS = {"energy_joules", "peak_memory_bytes", "seconds_prune", "seconds_train"}
DIFFERS |= {"seconds_penalty", "images_per_second", "captured"}


def carried_out(run: Run, device: torch.device) -> list[tuple[Tensors, Record]]:
    """All stages of a run; tensors come to the next one from the CPU, as from a checkpoint."""
    workbench, before = Workbench(dataset(), device), dict[str, Tensor]()
    found = []
    for stage in run.stages:
        tensors, record = carry_out(stage, workbench, before, lambda _: None)
        before = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        found.append((before, {k: v for k, v in record.items() if k not in DIFFERS}))
    return found


def same_on_both(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = carried_out(run, CPU)
    with pretended(monkeypatch):
        found = carried_out(run, CUDA)
    for (tensors, record), (tensors_, record_) in zip(expected, found, strict=True):
        assert record_ == record
        assert tensors.keys() == tensors_.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensors_[name], tensor), name


METHODS = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.exhaustive])
    for name in REGISTRY.methods
]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_computes_on_a_gpu_what_it_does_on_a_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"synflow": {"rounds": 3}, "gradual-magnitude": {"renewals": 3}}.get(name, {})
    (run,) = runs(methods=[{"name": name, **more}])
    same_on_both(run, monkeypatch)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "synaptic-strength", "budget": {"passes": 2}},
        pytest.param(
            {"name": "magnitude", "retrain": "weight-rewind"}, marks=pytest.mark.exhaustive
        ),
        pytest.param({"name": "l0", "budget": {"passes": 2}}, marks=pytest.mark.exhaustive),
        pytest.param({"name": "magnitude", "retrain": "scratch-b"}, marks=pytest.mark.exhaustive),
    ],
    ids=lambda spec: "-".join(map(str, spec.values())),
)
def test_so_does_what_is_pruned_twice_or_rewound(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = {"kept": 0.4, "unit": "params"} | spec.get("budget", {})
    train = {"epochs": 3, "batch_size": 16, "lr": 0.05}
    (run,) = runs(methods=[spec | {"budget": budget}], train=train)
    same_on_both(run, monkeypatch)


def waits(name: str, count: int, gpu: Pretended) -> list[str]:
    """Where an epoch of so many batches, of held masks and a method's hooks, waits."""
    workbench = Workbench(DataSet("noise", 4, images(16 * count), images(8), images(8)), CUDA)
    method = REGISTRY.methods[name].cls()
    model = workbench.place(workbench.model("vgg6", 0))
    offer(method.attach, model)
    model = workbench.place(model)
    hooks = Hooks(
        offer(method.parameter_groups, model),
        partial(offer, method.penalty, model, images=100),
        partial(method.after_step, model),
    )
    loader = workbench.augmented(Recipe(epochs=1, batch_size=16, shift=1, flip=True))
    gpu.waits.clear()
    train(model, Recipe(epochs=1, batch_size=16, lr=0.01), loader, 0, hooks, lambda _: None)
    return list(gpu.waits)


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_gpu(name: str, gpu: Pretended) -> None:
    few, many = waits(name, 2, gpu), waits(name, 5, gpu)
    assert 0 < len(few) < 15  # at the beginning and at the end of an epoch
    assert sorted(many) == sorted(few)


class Kept(Checkpointer):
    """Keeps what a training saves after its first epoch, as a checkpoint would."""

    def __init__(self, saved: TrainingState | None = None) -> None:
        self.saved = saved

    def resume(self, network: nn.Module) -> TrainingState | None:
        del network
        return self.saved

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        del of
        if number == 1:
            taken = take()
            there = {name: t.detach().cpu().contiguous() for name, t in taken.tensors.items()}
            self.saved = TrainingState(there, copy.deepcopy(taken.facts))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_training_goes_on_from_what_it_saved(
    optimizer: Literal["sgd", "adam"], gpu: Pretended
) -> None:
    recipe = Recipe(epochs=3, batch_size=16, lr=0.01, optimizer=optimizer)
    workbench, found = Workbench(dataset(), CUDA), []
    kept = Kept()
    for _ in range(2):  # the second time from the first one's first epoch
        model = workbench.place(nn.Sequential(workbench.model("vgg6", 0), nn.Dropout(0.3)))
        train(model, recipe, workbench.augmented(recipe), 0, Hooks(saver=kept), lambda _: None)
        found.append(dict(model.state_dict()))
    assert gpu.waits
    whole, resumed = found
    for name, tensor in whole.items():
        assert isinstance(tensor, OnDevice)
        assert torch.equal(resumed[name], tensor)


@pytest.mark.exhaustive
def test_the_command_line_names_the_gpu(
    tiny: Path, invoke: Invoke, gpu: Pretended, tmp_path: Path
) -> None:
    ended = invoke("run", tiny, "--device", "cuda", "--results", tmp_path / "results", "--quiet")
    assert (ended.code, gpu.waits != []) == (0, True), ended.err
    page = (tmp_path / "results" / "tiny" / "report.md").read_text()
    assert "a pretended GPU" in page


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ["magnitude", "synaptic-strength"])
def test_masks_are_held_wherever_they_come_from(name: str) -> None:
    workbench, method = Workbench(dataset(), CUDA), REGISTRY.methods[name].cls()
    model = workbench.model("vgg6", 0)
    offer(method.attach, model)
    model = workbench.place(model)
    layer = prunable_layers(model)[1]
    weight = module_of(model, layer).weight
    keep_masked(model, {layer.weight: torch.arange(weight.numel()).reshape(weight.shape) >= 9})(0.0)
    assert torch.equal((module_of(model, layer).weight == 0).sum().cpu(), torch.tensor(9))


@pytest.mark.usefixtures("gpu")
def test_penalties_are_timed_by_the_gpu() -> None:
    (run,) = runs(methods=[{"name": "l0"}])
    _, record = carry_out(run.stages[0], Workbench(dataset(), CUDA), {}, lambda _: None)
    assert record["seconds_penalty"] == pytest.approx(0.001 * 3)  # a step takes 1 ms here
