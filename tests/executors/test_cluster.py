"""Parts of the Ray executor without a cluster: shares, messages, shipments, compatibility."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.data.image_folder import Files
from ssbench.data.registry import open_dataset
from ssbench.errors import BadInputError
from ssbench.executors.ray import cluster, compatibility, shipping, task
from ssbench.executors.ray.cluster import Share, cpu_share, gpu_share
from ssbench.executors.ray.executor import _TensorRefs
from ssbench.executors.ray.mailbox import Mailbox, ProgressMessage, ProgressReporter
from ssbench.executors.ray.task import pack
from ssbench.experiment.plan import plan, stages
from ssbench.experiment.spec import Experiment
from ssbench.method.registry import discover
from ssbench.models.pretrained import fetch, weights_folder
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.loop import Epoch
from tests.support.command_line import Invoke
from tests.support.pictures import make_pictures

Node = dict[str, object]


def node(cpus: float, gpus: float = 0, memory: float = 8e9, *, alive: bool = True) -> Node:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus, "memory": memory}}


@pytest.mark.parametrize(
    ("share", "slots"),
    [
        (Share(1), 12),
        (Share(3), 1 + 2),
        (Share(1, memory=3 * 10**9), 2 + 2),
        (Share(2, gpus=1.0), 2),
        (Share(2, gpus=0.5), 4),
        (Share(2, gpus=0.3333), 4),
        (Share(16), 0),
    ],
)
def test_slots_are_what_every_living_node_carries(share: Share, slots: int) -> None:
    nodes = [node(4), node(8, gpus=2), node(64, gpus=8, alive=False)]
    assert share.slots(nodes) == slots


def test_cores_are_divided_among_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    nodes = [node(4), node(8)]
    assert cpu_share(nodes, None) == Share(1)
    assert cpu_share(nodes, 4) == Share(3)
    assert cpu_share(nodes, 2) == Share(4)  # no more than the smallest node has
    assert cpu_share(nodes, 100) == Share(1)
    assert cpu_share(nodes, 4, memory=7) == Share(3, memory=7)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cpu_share(nodes, 4) == Share(2)


@pytest.mark.parametrize(
    ("part", "gpus", "cpus"), [(1.0, 1.0, 6), (0.6, 1.0, 6), (0.4, 0.5, 3), (0.3, 0.3333, 2)]
)
def test_a_gpu_is_shared_as_its_memory_allows(
    part: float, gpus: float, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    nodes = [node(16, gpus=2), node(12, gpus=2), node(4)]
    share = gpu_share(nodes, part)
    assert share == Share(cpus, gpus)
    assert share.slots(nodes) == 4 * int(1 / gpus)
    assert share.options()["max_calls"] == 1


def test_an_epoch_is_reported_at_once_and_the_next_ones_together() -> None:
    posted: list[ProgressMessage] = []
    reporter = ProgressReporter("a", posted.append)
    reporter.began()
    for number in range(1, 4):
        reporter(Epoch(number, 4, 0.1, 5.0, 100.0))
    assert [[e.number for e in letter.epochs] for letter in posted] == [[], [1]]
    reporter._last -= 1.0
    reporter(Epoch(4, 4, 0.1, 5.0, 100.0))
    assert [e.number for e in posted[-1].epochs] == [2, 3, 4]
    assert [e.number for e in reporter.epochs] == [1, 2, 3, 4]


def test_messages_wait_until_they_are_collected() -> None:
    async def exchange() -> list[list[ProgressMessage]]:
        box = Mailbox()
        waiting = asyncio.create_task(box.collect())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await box.post(ProgressMessage("a"))
        await box.post(ProgressMessage("b"))
        first = await waiting
        await box.post(ProgressMessage("c"))
        return [first, await box.collect()]

    assert asyncio.run(exchange()) == [
        [ProgressMessage("a"), ProgressMessage("b")],
        [ProgressMessage("c")],
    ]


def test_tensors_are_held_as_long_as_a_stage_needs_them(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(
        {
            "name": "x",
            "dataset": "digits",
            "models": ["vgg6"],
            "seeds": [0],
            "budget": {"kept": [0.5, 0.1], "protection": 0.0},
            "methods": [{"name": "magnitude"}],
        }
    )
    every = stages(plan(experiment, discover(), "data", "x.toml"))
    train = next(stage for stage in every if stage.kind == "train")
    first, second = (stage for stage in every if stage.parent and stage.parent.id == train.id)
    store = CheckpointStore(tmp_path)
    store.prepare()
    shelf = _TensorRefs(SimpleNamespace(put=lambda content: content), store, every)
    assert shelf.before(train) == b""
    store.save(train.id, {"w": torch.ones(2)}, {})
    shelf.put(train, "in the cluster")
    assert shelf.before(first) == "in the cluster"
    shelf.lose(train)
    assert shelf.before(first) == pack({"w": torch.ones(2)})  # from the store again
    shelf.used(first)
    assert len(shelf._refs) == 1
    shelf.used(second)
    assert shelf._refs == {}
    last = next(stage for stage in every if stage.parent and stage.parent.id == first.id)
    shelf.put(last, "of no use to anybody")
    assert shelf._refs == {}


def test_a_data_set_in_memory_is_sent_whole(tmp_path: Path) -> None:
    digits = open_dataset("digits", tmp_path)
    there = shipping.unpack(shipping.pack(digits, tmp_path))
    assert isinstance(there.train, Split)
    assert there.fingerprint == digits.fingerprint


@pytest.fixture
def sent(tmp_path: Path) -> tuple[Path, Path, Callable[[], DataSet]]:
    """ImageNet's folder at the driver and at a worker, and what the worker gets."""
    here, there = tmp_path / "here", tmp_path / "there"
    make_pictures(here / "imagenet", count=4)
    make_pictures(there / "imagenet", count=4)
    shipment = shipping.pack(open_dataset("imagenet", here), here)
    return here / "imagenet", there / "imagenet", lambda: shipping.unpack(shipment)


OWN = '''
from dataclasses import dataclass
from ssbench.method import Method

@dataclass(frozen=True, kw_only=True)
class Own(Method):
    """Keep all."""
    grain = "weight"

    def scores(self, model):
        return {}
'''


def test_a_worker_that_ran_other_stages_imports_a_method_that_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it took the runner of the stages before, and could not read the next one."""
    path = tmp_path / "own.py"
    path.write_text(OWN)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda reference: reference))
    monkeypatch.setattr(task, "_runners", {})
    monkeypatch.setattr(task, "hold_back", lambda dataset, *_: dataset)  # for good, as it is
    orders = task.Orders(
        key="a call",
        device="cpu",
        threads=torch.get_num_threads(),
        facts=compatibility.here(),
        shipment=shipping.pack(open_dataset("digits", tmp_path), tmp_path),
        methods=shipping.read_methods([path]),
        weights={},
        mailbox=None,
    )
    first = task._runner(orders)
    assert task._runner(orders) is first
    module = "ssbench_method_file_own"
    assert module not in sys.modules
    assert task._runner(replace(orders, method_module=module)) is not first
    assert sys.modules.pop(module).Own().grain == "weight"


def test_images_are_found_where_they_lie_at_the_driver_or_in_the_nodes_own_folder(
    sent: tuple[Path, Path, Callable[[], DataSet]], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, unpack = sent
    monkeypatch.setenv("SSBENCH_DATA", str(there.parent))
    for root in (here, there):
        found = unpack()
        assert isinstance(found.train, Files)
        assert {found.train.root, found.test.root} == {root}
        assert len(found.train) + len(found.validation) == 12
        if root == here:
            here.rename(here.with_name("gone"))
    monkeypatch.setenv("SSBENCH_DATA", str(there.parent / "nowhere"))
    with pytest.raises(BadInputError, match="put the images there on every node"):
        unpack()


def test_other_images_of_that_name_are_refused(
    sent: tuple[Path, Path, Callable[[], DataSet]],
) -> None:
    here, _, unpack = sent
    victim = next((here / "val").rglob("*.jpg"))
    victim.write_bytes(victim.read_bytes() + b" ")
    with pytest.raises(BadInputError, match="not the driver's"):
        unpack()


def test_weights_that_were_sent_are_found_as_if_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = f"tiny-{'0' * 8}.pth"
    shipping.keep_weights(name, b"weights")
    assert (weights_folder() / name).read_bytes() == b"weights"
    with pytest.raises(BadInputError, match="not the published file"):
        fetch(f"https://example.org/{name}")


def test_a_method_that_was_sent_is_the_drivers(tmp_path: Path) -> None:
    path = tmp_path / "sent_one.py"
    path.write_text(
        '"""Sent."""\nfrom dataclasses import dataclass\nfrom ssbench.method import Method\n\n'
        '@dataclass(frozen=True, kw_only=True)\nclass Sent(Method):\n    """Sent."""\n'
        '    grain = "weight"\n\n    def scores(self, model):\n        return {}\n'
    )
    files = shipping.read_methods([path])
    path.unlink()
    sys.modules.pop("ssbench_method_file_sent_one", None)
    shipping.import_method(files, "ssbench_method_file_sent_one")
    assert sys.modules["ssbench_method_file_sent_one"].Sent().grain == "weight"


def test_machines_with_the_same_agree_and_others_are_named() -> None:
    ours = compatibility.here()
    compatibility.agree(ours)
    assert {"torch", "ssbench", "python", compatibility.CODE} <= set(ours)
    for name in ("torch", compatibility.CODE):
        with pytest.raises(BadInputError, match=rf"{name} {ours[name]} \(the driver has 1\)"):
            compatibility.agree(ours | {name: "1"})


def test_without_ray_the_extra_is_named(
    tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = invoke("run", tiny, "--executor", "ray")
    assert refused.code == 2
    assert "uv sync --extra ray" in refused.err


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:9", "no Ray cluster answers there"),
        ("ray://127.0.0.1:9", "no Ray cluster answers there"),
        ("somewhere", "HOST:PORT"),
        ("127.0.0.1:port", "HOST:PORT"),
        ("127.0.0.1:99999999", "no Ray cluster answers there"),
    ],
)
def test_an_address_where_nobody_answers(
    address: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "load", lambda: None)
    with pytest.raises(BadInputError, match=says):
        cluster.reach(address)


def test_an_address_is_for_ray_only(tiny: Path, invoke: Invoke) -> None:
    refused = invoke("run", tiny, "--address", "auto")
    assert refused.code == 2
    assert "--executor ray" in refused.err
