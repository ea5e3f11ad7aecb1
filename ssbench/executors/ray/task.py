"""What a Ray task does: one stage, from its parent's tensors to its own, on whichever machine.

Everything that it needs comes to it, and everything that it makes goes back: it reads no store and
writes none. A process carries out many stages one after the other, and keeps the data set.
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
from ssbench.executors.processes.worker import Failed, Refused
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
    """What a process has to know before its first stage; the same for all of a call.

    Attributes:
        key: of this call alone, by which a process knows that it has read them.
        device: ``cpu`` or ``cuda``; of the latter a task sees the one that Ray gave it.
        threads: so many may torch use in a task.
        facts: what `ssbench.executors.ray.compatibility.here` says at the driver.
        shipment: refers to a `ssbench.executors.ray.shipping.Shipment`.
        methods: of `ssbench.executors.ray.shipping.read_methods`.
        weights: by file name, refer to files of published weights.
        letterbox: the actor that is told of epochs.
        method_module: see `ssbench.executors.processes.worker.Setup`.
    """

    key: str
    device: str
    threads: int
    facts: Mapping[str, str]
    shipment: Any
    methods: tuple[tuple[str, bytes], ...]
    weights: Mapping[str, Any]
    letterbox: Any
    method_module: str = ""


@dataclass(frozen=True)
class Finished:
    """A stage's measurements, and all of its epochs; its tensors come beside it."""

    record: Record
    epochs: tuple[Epoch, ...]


Report = Finished | Failed | Refused


def carry_out(orders: Orders, stage: bytes, before: bytes) -> tuple[Report, bytes]:
    """Carry out a stage.

    Args:
        orders: see there.
        stage: pickled, as its method's class is known here only when the orders have been read.
        before: what the task of its parent returned; empty for a first stage.

    Returns:
        How it ended, and the tensors that it leaves in the format of safetensors; these are the
        bytes that the store would give back.
    """
    try:
        hand = _hand(orders)
        what: Stage = _unpickle(stage)
        reporter = ProgressReporter(what.id, orders.letterbox.post.remote)
        reporter.began()
        tensors, record = hand.compute(what, load(before) if before else {}, reporter)
    except StageFailedError as failure:
        return Failed(str(failure), failure.facts), b""
    except BadInputError as error:
        return Refused(str(error)), b""
    return Finished(record, tuple(reporter.epochs)), pack(tensors)


def measure(orders: Orders, runs: bytes) -> tuple[int, int] | Refused:
    """How many bytes of a GPU a stage needs at most, and how many the GPU has."""
    try:
        workbench = _workbench(orders)
        found: list[Run] = _unpickle(runs)
        return needed(found, workbench), torch.cuda.mem_get_info(workbench.device)[1]
    except BadInputError as error:
        return Refused(str(error))


def pack(tensors: Tensors) -> bytes:
    """Tensors in the format of safetensors."""
    return save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})


_hands: dict[str, StageRunner] = {}
"""The one by the orders that this process read last."""


def _hand(orders: Orders) -> StageRunner:
    if orders.key not in _hands:
        _hands.clear()
        alone = bool(orders.method_module)
        _hands[orders.key] = StageRunner(_workbench(orders), None, isolated=alone)
    return _hands[orders.key]


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
        return pickle.loads(pickled)  # noqa: S301 -- the driver of this very call made it
    except (ImportError, AttributeError) as error:
        raise BadInputError(
            f"the worker on {socket.gethostname()} lacks what the driver has ({error}); install "
            "the same packages on every node"
        ) from error
