"""Tell a cluster's tasks what to do, and divide its nodes among them."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Sequence
from typing import Any

from ssbench.errors import BadInputError
from ssbench.executors.capacity import ON_GPU, SPARE, needed
from ssbench.executors.protocol import Job, Refused, Where
from ssbench.executors.ray import compatibility, shipping
from ssbench.executors.ray.cluster import Share, cpu_share, gpu_share
from ssbench.executors.ray.mailbox import Mailbox
from ssbench.executors.ray.task import Orders, measure
from ssbench.experiment.stage import Run
from ssbench.models.pretrained import fetch
from ssbench.models.weights import sent_name


def prepare(ray: Any, job: Job, runs: Sequence[Run]) -> tuple[Orders, Share]:
    """Return the orders for all tasks, and the resources of each.

    Args:
        ray: the module, connected to a cluster.
        job: with the data set on this machine's CPU.
        runs: that have no record.

    Raises:
        BadInputError: no node has the device, or a worker rejected the input.
    """
    gpus = _on_gpus(ray, job.where)
    starts = {stage.start for run in runs for stage in run.stages if stage.start}
    weights = {sent_name(start): fetch(start) for start in starts}
    orders = Orders(
        key=uuid.uuid4().hex,
        device="cuda" if gpus else "cpu",
        threads=1,
        facts=compatibility.here(),
        shipment=ray.put(shipping.pack(job.workbench.dataset, job.data_root)),
        methods=shipping.read_methods(job.method_files),
        weights={name: ray.put(weights[name].read_bytes()) for name in sorted(weights)},
        mailbox=ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Mailbox).remote(),
    )
    packed = job.where.concurrency == "auto"
    if gpus:
        return orders, gpu_share(ray.nodes(), _part(ray, orders, runs) if packed else 1.0)
    memory = needed(runs, job.workbench) if packed else 0
    return orders, cpu_share(ray.nodes(), most(job.where), memory)


def most(where: Where) -> int | None:
    """Return the maximum number of stages at once; None: one per GPU, or per core without GPUs."""
    return where.concurrency if isinstance(where.concurrency, int) else None


def _on_gpus(ray: Any, where: Where) -> bool:
    there = any(node["Resources"].get("GPU") for node in ray.nodes() if node["Alive"])
    if where.device.startswith("cuda:"):
        raise BadInputError(f"--device {where.device}: Ray chooses the GPUs; write --device cuda")
    if where.device == "cuda" and not there:
        raise BadInputError("--device cuda: no node of the Ray cluster has a GPU; see `ray status`")
    return there and where.device != "cpu"


def _part(ray: Any, orders: Orders, runs: Sequence[Run]) -> float:
    """Measure on one GPU which part of its memory a stage needs."""
    task = ray.remote(num_gpus=1, num_cpus=1, max_calls=1)(measure)
    measured = ray.get(task.remote(orders, pickle.dumps(list(runs))))
    if isinstance(measured, Refused):
        raise BadInputError(measured.message)
    need, there = measured
    return min(max(float(need / (SPARE * there)), 1 / ON_GPU), 1.0)
