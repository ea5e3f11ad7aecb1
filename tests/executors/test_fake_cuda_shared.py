"""GPUs beside each other, shared and fed, on a pretended one: see `tests.support.pretended_gpu`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.utils._pytree import tree_leaves

from bench.perf.images import make as make_photographs
from ssbench.data.digits import digits
from ssbench.data.folder_loader import FolderLoader
from ssbench.data.image_folder import Files
from ssbench.data.registry import open_dataset
from ssbench.executors.capacity import CUDA_CONTEXT, ON_GPU, fitting, needed
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import clear
from ssbench.training.distributed.ddp import DataParallel
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.loop import Hooks, train
from ssbench.training.recipe import Recipe
from tests.support.fake_cuda import CPU, CUDA, dataset, runs
from tests.support.pretended_gpu import OnDevice, Pretended


@pytest.mark.usefixtures("gpu")
def test_other_gpus_are_left_alone_by_what_prunes_while_it_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def state(device: object = None) -> Tensor:
        asked.append(device)
        return torch.get_rng_state()

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "get_rng_state", state)
    (run,) = runs(methods=[{"name": "gradual-magnitude"}])
    carry_out(run.stages[0], Workbench(dataset(), CUDA), {}, lambda _: None)
    assert {str(device) for device in asked} == {"cuda", "cuda:0"}


def test_photographs_come_to_the_gpu_without_a_wait(gpu: Pretended, tmp_path: Path) -> None:
    make_photographs(tmp_path, 20)
    opened, batches = open_dataset(f"imagefolder:{tmp_path}", Path()), []
    assert isinstance(opened.train, Files)
    for device in (CPU, CUDA):
        loader = FolderLoader(opened.train.to(device), opened.normalisation, 6, workers=0)
        generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
        batches.append(list(loader.shuffled(*generators)))
    assert len(gpu.waits) == 2  # for mean and standard deviation
    for (images, labels), (images_, labels_) in zip(*batches, strict=True):
        assert isinstance(images_, OnDevice)
        assert isinstance(labels_, OnDevice)
        assert torch.equal(images_.cpu(), images)
        assert torch.equal(labels_.cpu(), labels)


@pytest.fixture
def one_process() -> Iterator[None]:
    """A group of the only process: exchanges change nothing, and need tensors on the device."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_a_joint_training_exchanges_what_lies_on_the_gpu(
    gpu: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NCCL takes no other tensors."""
    exchanged: list[object] = []

    def noted(exchange: Callable[..., object]) -> Callable[..., object]:
        def note(*given: Any) -> object:
            exchanged.extend(each for each in tree_leaves(given) if isinstance(each, Tensor))
            return exchange(*given)

        return note

    for name in ("all_reduce", "all_gather", "broadcast"):
        monkeypatch.setattr(dist, name, noted(getattr(dist, name)))
    workbench, found = Workbench(dataset(), CUDA), []
    recipe = Recipe(epochs=2, batch_size=16, lr=0.01)
    fabric = SimpleNamespace(
        global_rank=0,
        world_size=1,
        device=torch.device("cuda:0"),
        setup_module=lambda model, **_: model,
        backward=lambda loss: loss.backward(),
    )
    for spread in (SingleProcess(), DataParallel(fabric)):
        model = workbench.place(nn.Sequential(workbench.model("vgg6", 0), nn.Dropout(0.3)))
        hooks = Hooks(spread=spread)
        gpu.waits.clear()
        trained = train(model, recipe, workbench.augmented(recipe), 0, hooks, lambda _: None)
        found.append(trained.curve_loss)
    assert found[1] == pytest.approx(found[0], rel=1e-3)
    assert len(exchanged) > 20
    assert all(isinstance(tensor, OnDevice) for tensor in exchanged)
    assert len(gpu.waits) < 30  # a step of each size and an epoch wait, and no others


@pytest.mark.usefixtures("gpu")
def test_a_numbered_gpu_becomes_the_one_that_is_worked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    Workbench(dataset(), CUDA)
    assert chosen == []
    Workbench(dataset(), torch.device("cuda:0"))
    assert chosen == [torch.device("cuda:0")]


@pytest.mark.usefixtures("gpu")
def test_memory_is_measured_and_given_back_before_others_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(True))
    workbench, planned = Workbench(dataset(), CUDA), runs(methods=[{"name": "magnitude"}])
    assert needed(planned, workbench) == (2 << 30) + CUDA_CONTEXT
    assert len(freed) == 2
    monkeypatch.setattr("ssbench.executors.capacity.cores", lambda: 100)
    assert fitting(planned, workbench) == ON_GPU
    monkeypatch.setattr("ssbench.executors.capacity.ON_GPU", 100)
    assert fitting(planned, workbench) == 12  # of 80 % of 40 GiB


@pytest.mark.usefixtures("gpu")
def test_an_evaluation_that_does_not_fit_is_done_in_smaller_batches() -> None:
    workbench = Workbench(digits(), CUDA)
    model = workbench.place(workbench.model("vgg6", 0)).eval()
    whole, seen = workbench.measure(model), []

    def limited(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(len(given[0]))
        if len(given[0]) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(limited)
    found = workbench.measure(model)
    tried = [297, 297, 256, 128], [500, 500, 256, 128]  # of 1,024, 512, 256, 128
    assert seen == [*tried[0], *[64] * 4, 41, *tried[1], *[64] * 7, 52]
    assert found == pytest.approx(whole)
    model.register_forward_pre_hook(lambda *_: torch.ones(2) + torch.ones(3))
    with pytest.raises(RuntimeError, match="must match"):
        workbench.measure(model)


def test_memory_of_an_earlier_stage_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("gc.collect", lambda: done.append("collect"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: done.append("reset"))
    clear(CPU)
    assert done == []
    clear(CUDA)
    assert done == ["collect", "empty", "reset"]
