"""Run stages as tasks of a Ray cluster, on one machine or many.

Tensors move between stages through Ray's object store, so the nodes share no disk. Only the driver
writes: checkpoints when stages finish, and records.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError
from ssbench.executors.capacity import SPARE, cores, needed
from ssbench.executors.coordinator import Coordinator
from ssbench.executors.processes.worker import Refused
from ssbench.executors.ray import compatibility, shipping
from ssbench.executors.ray.cluster import Share, cpu_share, gpu_share, joined
from ssbench.executors.ray.driver import RayDriver
from ssbench.executors.ray.mailbox import Mailbox
from ssbench.executors.ray.task import Orders, measure
from ssbench.executors.stage_runner import Observer, Outcome
from ssbench.experiment.stage import Run
from ssbench.models.pretrained import fetch
from ssbench.models.weights import sent_name
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results


@dataclass(frozen=True)
class RaySetup:
    """Settings for a cluster.

    Attributes:
        address: see `ssbench.executors.ray.cluster.joined`.
        device: auto, cpu or cuda; auto: GPUs if the cluster has any.
        stages: maximum number at once; None: one per GPU, or per core without GPUs.
        packed: several stages share a GPU if its memory allows; on CPUs, none starts where memory
            is short.
        method_files: methods from files, which the workers need.
        data_root: the folder of all data sets on this machine.
    """

    address: str
    device: str
    stages: int | None
    packed: bool
    method_files: tuple[Path, ...]
    data_root: Path


def execute_on_ray(
    runs: Sequence[Run],
    workbench: Workbench,
    store: CheckpointStore,
    results: Results,
    observer: Observer,
    setup: RaySetup,
) -> Outcome:
    """Run the runs without a record on a cluster.

    Args:
        runs: all of them.
        workbench: the data set, on this machine's CPU.
        store: the finished stages; on this machine, like the records.
        results: the records.
        observer: gets the progress.
        setup: settings for the cluster.

    Raises:
        BadInputError: there is no such cluster, none of its nodes can run a stage, or a worker
            rejected the input.
    """
    coordinator = Coordinator(runs, store, results, observer)
    if coordinator.schedule.ready:
        with joined(setup.address, max(cores(), setup.stages or 1)) as ray:
            drive(ray, coordinator, workbench, setup)
    return coordinator.outcome


def drive(ray: Any, coordinator: Coordinator, workbench: Workbench, setup: RaySetup) -> None:
    """Run a coordinator's stages on the cluster that this process has joined.

    Raises:
        BadInputError: as `execute_on_ray`.
    """
    gpus = _on_gpus(ray, setup)
    starts = {s.start for run in coordinator.left for s in run.stages if s.start}
    weights = {sent_name(start): fetch(start) for start in starts}
    orders = Orders(
        key=uuid.uuid4().hex,
        device="cuda" if gpus else "cpu",
        threads=1,
        facts=compatibility.here(),
        shipment=ray.put(shipping.pack(workbench.dataset, setup.data_root)),
        methods=shipping.read_methods(setup.method_files),
        weights={name: ray.put(weights[name].read_bytes()) for name in sorted(weights)},
        mailbox=ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Mailbox).remote(),
    )
    share = (_gpu_share if gpus else _cpu_share)(ray, coordinator, workbench, orders, setup)
    RayDriver(ray, coordinator, orders, share, setup.stages).run()


def _on_gpus(ray: Any, setup: RaySetup) -> bool:
    there = any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
    if setup.device.startswith("cuda:"):
        raise BadInputError(f"--device {setup.device}: Ray chooses the GPUs; write --device cuda")
    if setup.device == "cuda" and not there:
        raise BadInputError("--device cuda: no node of the Ray cluster has a GPU; see `ray status`")
    return there and setup.device != "cpu"


def _gpu_share(
    ray: Any, coordinator: Coordinator, _: Workbench, orders: Orders, setup: RaySetup
) -> Share:
    """Return a stage's share of a node with GPUs; if stages may share a GPU, measure on one."""
    part = 1.0
    if setup.packed:
        task = ray.remote(num_gpus=1, num_cpus=1, max_calls=1)(measure)
        measured = ray.get(task.remote(orders, pickle.dumps(coordinator.left)))
        if isinstance(measured, Refused):
            raise BadInputError(measured.message)
        need, there = measured
        part = min(need / (SPARE * there), 1.0)
    return gpu_share(ray.nodes(), part)


def _cpu_share(
    ray: Any, coordinator: Coordinator, workbench: Workbench, _: Orders, setup: RaySetup
) -> Share:
    memory = needed(coordinator.left, workbench) if setup.packed else 0
    return cpu_share(ray.nodes(), setup.stages, memory)
