"""A Ray task: one stage, from its parent's tensors to its own, on any machine.

Inputs and results travel with the task: it reads and writes no store. A process runs many stages
one after the other and keeps the data set.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from safetensors.torch import load, save

from ssbench.data.dataset import DataSet
from ssbench.data.without_test import hold_back
from ssbench.errors import BadInputError
from ssbench.executors.capacity import needed
from ssbench.executors.protocol import Failed, Refused
from ssbench.executors.ray import compatibility, shipping
from ssbench.executors.ray.mailbox import ProgressReporter
from ssbench.executors.stage_runner import StageFailedError, StageRunner
from ssbench.experiment.stage import Run, Stage
from ssbench.models.pretrained import weights_folder
from ssbench.pipeline.record import Record
from ssbench.pipeline.state import Tensors
from ssbench.pipeline.workbench import Workbench
from ssbench.training.device import resolve
from ssbench.training.loop import Epoch


@dataclass(frozen=True)
class Orders:
    """What a process must know before its first stage; the same for all tasks of a call.

    Attributes:
        key: unique to this call, so that a process reads its orders once.
        device: ``cpu`` or ``cuda``; a task sees only the GPU that Ray assigned.
        threads: torch's threads in a task.
        facts: the driver's `ssbench.executors.ray.compatibility.here`.
        shipment: refers to a `ssbench.executors.ray.shipping.Shipment`.
        methods: from `ssbench.executors.ray.shipping.read_methods`.
        weights: references to files of published weights, by file name.
        mailbox: the actor that collects progress messages.
        method_module: see `ssbench.executors.processes.worker.Setup`.
    """

    key: str
    device: str
    threads: int
    facts: Mapping[str, str]
    shipment: Any
    methods: tuple[tuple[str, bytes], ...]
    weights: Mapping[str, Any]
    mailbox: Any
    method_module: str = ""


@dataclass(frozen=True)
class Finished:
    """A stage's measurements and all of its epochs; its tensors are returned beside it."""

    record: Record
    epochs: tuple[Epoch, ...]


Report = Finished | Failed | Refused


def carry_out(orders: Orders, stage: bytes, before: bytes) -> tuple[Report, bytes]:
    """Run a stage.

    Args:
        orders: for all tasks of the call.
        stage: pickled, because its method's class exists here only after reading the orders.
        before: the tensors returned by its parent's task; empty for a first stage.

    Returns:
        How it ended, and its tensors in the format of safetensors; the store would return the same
        bytes.
    """
    try:
        runner = _runner(orders)
        what: Stage = _unpickle(stage)
        reporter = ProgressReporter(what.id, orders.mailbox.post.remote)
        reporter.began()
        tensors, record = runner.compute(what, load(before) if before else {}, reporter)
    except StageFailedError as failure:
        return failure.message(), b""
    except BadInputError as error:
        return Refused(str(error)), b""
    return Finished(record, tuple(reporter.epochs)), pack(tensors)


def measure(orders: Orders, runs: bytes) -> tuple[int, int] | Refused:
    """Return the most GPU memory that a stage needs, and the GPU's total, in bytes."""
    try:
        workbench = _workbench(orders)
        missing: list[Run] = _unpickle(runs)
        return needed(missing, workbench), torch.cuda.mem_get_info(workbench.device)[1]
    except BadInputError as error:
        return Refused(str(error))


def pack(tensors: Tensors) -> bytes:
    """Serialise tensors in the format of safetensors."""
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


_runners: dict[tuple[str, str], StageRunner] = {}
"""The runner for the latest orders of this process, by their key and the method's module: Ray may
give a stage of a method that does not ship with ssbench to a process that has run others."""


def _runner(orders: Orders) -> StageRunner:
    key = orders.key, orders.method_module
    if key not in _runners:
        _runners.clear()
        alone = bool(orders.method_module)
        _runners[key] = StageRunner(_workbench(orders), None, isolated=alone)
    return _runners[key]


def _workbench(orders: Orders) -> Workbench:
    import ray

    compatibility.agree(orders.facts)
    torch.set_num_threads(orders.threads)
    for name, content in orders.weights.items():
        if not (weights_folder() / name).is_file():
            shipping.keep_weights(name, ray.get(content))
    dataset = _dataset(orders)
    if orders.method_module:
        # It is on this machine; but nothing here refers to it while the method computes.
        read = partial(_dataset, orders)
        dataset = hold_back(dataset, read, (), orders.method_module)
    workbench = Workbench(dataset, resolve(orders.device))
    if orders.method_module:
        try:
            shipping.import_method(orders.methods, orders.method_module)
        except BadInputError as error:
            raise StageFailedError(str(error), {}) from error
    return workbench


def _dataset(orders: Orders) -> DataSet:
    import ray

    return shipping.unpack(ray.get(orders.shipment))


def _unpickle(pickled: bytes) -> Any:
    try:
        return pickle.loads(pickled)  # noqa: S301 -- made by this call's driver
    except (ImportError, AttributeError) as error:
        raise BadInputError(
            f"the worker on {socket.gethostname()} lacks what the driver has ({error}); install "
            "the same packages on every node"
        ) from error
