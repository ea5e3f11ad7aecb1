"""A Ray cluster: joined or started, what it has, and what of it one stage takes."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ssbench.errors import BadInputError

REACH_SECONDS = 10.0
"""How long an address may take to answer."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers are not to be started by `uv run` again
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Dead workers are told of by the driver; Ray would print them among the results.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
Node = Mapping[str, Any]
"""What Ray says of a node: ``Alive``, and ``Resources`` by name."""


@dataclass(frozen=True)
class Share:
    """What one stage takes of a node.

    Attributes:
        cpus: cores, and so many threads.
        gpus: of 1, or 0; a part where several stages fit on a GPU.
        memory: bytes of the node's; 0: not counted.
    """

    cpus: int
    gpus: float = 0.0
    memory: int = 0

    def __str__(self) -> str:
        """Say it in words."""
        parts = [
            f"{self.cpus} CPUs",
            f"{self.gpus:g} GPUs",
            f"{self.memory / 1e9:.1f} GB of memory",
        ]
        wanted = (self.cpus, self.gpus, self.memory)
        return " and ".join(part for part, amount in zip(parts, wanted, strict=True) if amount)

    def options(self) -> dict[str, Any]:
        """As Ray takes them for a task."""
        # A process that has once seen a GPU cannot change to another: each stage has its own.
        gpu = {"num_gpus": self.gpus, "max_calls": 1} if self.gpus else {}
        memory = {"memory": self.memory} if self.memory else {}
        return {"num_cpus": self.cpus, **gpu, **memory}

    def slots(self, nodes: Sequence[Node]) -> int:
        """How many stages run at once on these nodes."""
        return sum(self._on(node["Resources"]) for node in nodes if node["Alive"])

    def _on(self, resources: Mapping[str, float]) -> int:
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return min(
            int(resources.get(name, 0) / amount + 1e-6) for name, amount in wanted.items() if amount
        )


def load() -> Any:
    """Import Ray, with its reports to its makers switched off.

    Raises:
        BadInputError: it is not installed.
    """
    os.environ.update(ENVIRONMENT)
    try:
        import ray
    except ImportError as error:
        raise BadInputError(
            f"--executor ray: Ray cannot be imported ({error}); pip install 'ssbench[ray]'"
        ) from error
    return ray


@contextmanager
def joined(address: str, cpus: int) -> Iterator[Any]:
    """Join a cluster, or start one on this machine; leave it, or end it, in the end.

    Args:
        address: ``local``: one of this machine alone; ``auto``: the one that was started here;
            else ``HOST:PORT`` or ``ray://HOST:PORT``.
        cpus: the cores of a local one.

    Yields:
        The module `ray`.

    Raises:
        BadInputError: it is not there, or has another Python or Ray.
    """
    reach(address)
    ray = load()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address, **quiet, **local)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise BadInputError(_refused(address, error)) from error
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
        yield ray
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, handler)


def reach(address: str) -> None:
    """See that Ray is installed, and that somebody listens where a cluster is to be.

    Ray itself would try for minutes, or for ever.

    Raises:
        BadInputError: neither; says what to do.
    """
    load()
    if address in ("local", "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise BadInputError(f"--address {address}: write local, auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
        _speaks(f"{host}:{port}")
    except (OSError, OverflowError) as error:
        raise BadInputError(
            f"--address {address}: no Ray cluster answers there ({error}); start one with `ray "
            "start --head`, or take --address local"
        ) from error


def _speaks(where: str) -> None:
    """See that it is gRPC that is spoken there, as Ray does; with TLS, Ray has to find out itself.

    Raises:
        TimeoutError: something else listens.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("0", "false"):
        return
    import grpc

    with grpc.insecure_channel(where) as channel:
        try:
            grpc.channel_ready_future(channel).result(REACH_SECONDS)
        except grpc.FutureTimeoutError:
            raise TimeoutError("something else listens") from None


def _refused(address: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0]
    return (
        f"--address {address}: no Ray cluster can be joined ({first}); start one with `ray start "
        "--head` and the same Python and Ray as here, or take --address local; a cluster that asks "
        "for a token wants RAY_AUTH_MODE=token here too"
    )


def cpu_share(nodes: Sequence[Node], stages: int | None, memory: int = 0) -> Share:
    """What a stage takes of nodes without GPUs.

    Args:
        nodes: the cluster's.
        stages: so many are to run at once; None: one on each core.
        memory: bytes that a stage needs; 0: not counted.
    """
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    cpus = [count for count in cpus if count]
    threads = min(sum(cpus) // stages, *cpus, _most()) if stages and cpus else 1
    return Share(max(threads, 1), memory=memory)


def gpu_share(nodes: Sequence[Node], part: float) -> Share:
    """What a stage takes of nodes with GPUs; ``part`` is the share of a GPU that it needs.

    The cores of a node are divided among its GPUs, by the node that has the fewest for each.
    """
    together = max(int(1 / part), 1)
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    cores = min(found.get("CPU", 0) / found["GPU"] for found in resources if found.get("GPU"))
    gpus = math.floor(10_000 / together) / 10_000  # in units that Ray counts in
    return Share(max(min(int(cores / together), _most()), 1), gpus)


def _most() -> int:
    """The most threads: what $OMP_NUM_THREADS says here, as for every other use of torch."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else 1 << 16
