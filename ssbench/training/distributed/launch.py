"""How a process joins a joint training."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore
from torch.nn.parallel import DistributedDataParallel

from ssbench.training.distributed.ddp import DataParallel


@dataclass(frozen=True)
class Place:
    """A process's place in a joint training on this machine.

    Attributes:
        rank: its number, from 0.
        of: the number of processes.
        port: of the store through which they find each other.
        timeout: seconds to wait for the others in an exchange.
    """

    rank: int
    of: int
    port: int
    timeout: float


def meeting_point() -> TCPStore:
    """Open the store through which processes find each other, at a free port."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@contextmanager
def joined(place: Place, kind: str) -> Iterator[DataParallel]:
    """Join the other processes, and leave them at the end.

    Args:
        place: this process's.
        kind: of device, ``cpu`` (gloo) or ``cuda`` (NCCL; every process has the GPU of its rank).
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    # Fabric uses an existing group as it is, so it chooses no port that another may take.
    timeout = timedelta(seconds=place.timeout)
    store = TCPStore("127.0.0.1", place.port, is_master=False, timeout=timeout)
    backend = "nccl" if kind == "cuda" else "gloo"
    device = torch.device(kind, place.rank) if kind == "cuda" else None
    if device is not None:
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=store,
        rank=place.rank,
        world_size=place.of,
        timeout=timeout,
        device_id=device,
    )
    # The processes exist already: do not detect a cluster, whatever this runs in.
    os.environ |= {"LOCAL_RANK": str(place.rank), "NODE_RANK": "0"}
    strategy = DDPStrategy(
        process_group_backend=backend,
        static_graph=True,  # for parameters that do not affect the logits
        **_without_buffers(),
    )
    # About gradients whose layout torch itself chose; it affects only the speed of small kernels.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    fabric = Fabric(
        accelerator=kind, devices=place.of, strategy=strategy, plugins=[LightningEnvironment()]
    )
    try:
        fabric.launch()
        yield DataParallel(fabric)
    finally:
        dist.destroy_process_group()


def _without_buffers() -> dict[str, Any]:
    """Do not send running statistics at every step: all processes compute the same ones."""
    names = ("forward_sync_buffers", "broadcast_buffers")  # of newer and of older torch
    known = inspect.signature(DistributedDataParallel).parameters
    return {next(name for name in names if name in known): False}
