"""Carry out stages as tasks of a Ray cluster, on one machine or on many.

The tensors between stages go through Ray's object store, from node to node; no disk is shared. Only
the driver writes: checkpoints as stages are finished, and records.
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
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results


@dataclass(frozen=True)
class RaySetup:
    """How to use a cluster.

    Attributes:
        address: see `ssbench.executors.ray.cluster.joined`.
        device: auto, cpu or cuda; auto: GPUs where the cluster has them.
        stages: so many at once; None: as many as there are GPUs, else cores.
        packed: several stages share a GPU where its memory carries them; on CPUs, none is begun
            where memory is short.
        method_files: that the workers need.
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
    """Carry out the runs that have no record yet, on a cluster.

    Args:
        runs: all of them.
        workbench: the data set, on this machine's CPU.
        store: the finished stages; like the records, on this machine.
        results: the records.
        observer: is told how far things are.
        setup: see there.

    Raises:
        BadInputError: there is no such cluster, it has nothing that a stage can run on, or a worker
            found the input at fault.
    """
    clerk = Coordinator(runs, store, results, observer)
    if clerk.schedule.ready:
        with joined(setup.address, max(cores(), setup.stages or 1)) as ray:
            drive(ray, clerk, workbench, setup)
    return clerk.outcome


def drive(ray: Any, clerk: Coordinator, workbench: Workbench, setup: RaySetup) -> None:
    """Carry out what a clerk has to give out on the cluster that this process has joined.

    Raises:
        BadInputError: as `execute_on_ray`.
    """
    gpus = _on_gpus(ray, setup)
    weights = {fetch(s.start) for run in clerk.left for s in run.stages if s.start}
    orders = Orders(
        key=uuid.uuid4().hex,
        device="cuda" if gpus else "cpu",
        threads=1,
        facts=compatibility.here(),
        shipment=ray.put(shipping.pack(workbench.dataset, setup.data_root)),
        methods=shipping.read_methods(setup.method_files),
        weights={path.name: ray.put(path.read_bytes()) for path in sorted(weights)},
        letterbox=ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Mailbox).remote(),
    )
    share = (_gpu_share if gpus else _cpu_share)(ray, clerk, workbench, orders, setup)
    RayDriver(ray, clerk, orders, share, setup.stages).run()


def _on_gpus(ray: Any, setup: RaySetup) -> bool:
    there = any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
    if setup.device.startswith("cuda:"):
        raise BadInputError(f"--device {setup.device}: Ray chooses the GPUs; write --device cuda")
    if setup.device == "cuda" and not there:
        raise BadInputError("--device cuda: no node of the Ray cluster has a GPU; see `ray status`")
    return there and setup.device != "cpu"


def _gpu_share(
    ray: Any, clerk: Coordinator, _: Workbench, orders: Orders, setup: RaySetup
) -> Share:
    """What a stage takes of a node with GPUs: measured on one of them, where it may be less."""
    part = 1.0
    if setup.packed:
        task = ray.remote(num_gpus=1, num_cpus=1, max_calls=1)(measure)
        measured = ray.get(task.remote(orders, pickle.dumps(clerk.left)))
        if isinstance(measured, Refused):
            raise BadInputError(measured.message)
        need, there = measured
        part = min(need / (SPARE * there), 1.0)
    return gpu_share(ray.nodes(), part)


def _cpu_share(
    ray: Any, clerk: Coordinator, workbench: Workbench, _: Orders, setup: RaySetup
) -> Share:
    memory = needed(clerk.left, workbench) if setup.packed else 0
    return cpu_share(ray.nodes(), setup.stages, memory)
