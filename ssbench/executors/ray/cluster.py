"""Join or start a Ray cluster, and divide its nodes among stages."""

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
from ssbench.paths import install

REACH_SECONDS = 10.0
"""Timeout for an address to answer."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # do not start workers with `uv run`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The driver reports dead workers; Ray would print them among the results.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
Node = Mapping[str, Any]
"""Ray's description of a node: ``Alive``, and ``Resources`` by name."""


@dataclass(frozen=True)
class Share:
    """The resources that one stage takes on a node.

    Attributes:
        cpus: cores, and as many threads.
        gpus: 0 to 1; a fraction if several stages share a GPU.
        memory: bytes of main memory; 0: not counted.
    """

    cpus: int
    gpus: float = 0.0
    memory: int = 0

    def __str__(self) -> str:
        """Write the resources in words."""
        parts = [
            f"{self.cpus} CPUs",
            f"{self.gpus:g} GPUs",
            f"{self.memory / 1e9:.1f} GB of memory",
        ]
        wanted = (self.cpus, self.gpus, self.memory)
        return " and ".join(part for part, amount in zip(parts, wanted, strict=True) if amount)

    def options(self) -> dict[str, Any]:
        """Return Ray's options for a task."""
        # A process that has used one GPU cannot switch to another, so each stage gets its own.
        gpu = {"num_gpus": self.gpus, "max_calls": 1} if self.gpus else {}
        memory = {"memory": self.memory} if self.memory else {}
        return {"num_cpus": self.cpus, **gpu, **memory}

    def slots(self, nodes: Sequence[Node]) -> int:
        """Return the number of stages that run at once on these nodes."""
        return sum(self._on(node["Resources"]) for node in nodes if node["Alive"])

    def _on(self, resources: Mapping[str, float]) -> int:
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return min(
            int(resources.get(name, 0) / amount + 1e-6) for name, amount in wanted.items() if amount
        )


def load() -> Any:
    """Import Ray with its usage reports switched off.

    Raises:
        BadInputError: it is not installed.
    """
    os.environ.update(ENVIRONMENT)
    try:
        import ray
    except ImportError as error:
        raise BadInputError(
            f"--executor ray: Ray cannot be imported ({error}); {install('ray')}"
        ) from error
    return ray


@contextmanager
def joined(address: str, cpus: int) -> Iterator[Any]:
    """Join a cluster, or start one on this machine; leave or stop it at the end.

    Args:
        address: ``local``: start one on this machine; ``auto``: join the one running here; else
            ``HOST:PORT`` or ``ray://HOST:PORT``.
        cpus: the cores of a local cluster.

    Yields:
        The module `ray`.

    Raises:
        BadInputError: there is no such cluster, or it has another Python or Ray.
    """
    ray = load()
    if ray.is_initialized():  # this process has joined one already, and stays
        yield ray
        return
    reach(address)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address, **quiet, **local)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise BadInputError(_refused(address, error)) from error
        signal.signal(signal.SIGTERM, handler)  # Ray installs its own
        yield ray
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, handler)


def reach(address: str) -> None:
    """Check that Ray is installed and that a server answers at the cluster's address.

    Ray itself would try for minutes, or for ever.

    Raises:
        BadInputError: one of these fails; names the remedy.
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
    """Check that the server speaks gRPC, as Ray does; with TLS, leave that to Ray.

    Raises:
        TimeoutError: it is another kind of server.
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
    """Return a stage's share of nodes without GPUs.

    Args:
        nodes: the cluster's nodes.
        stages: the number to run at once; None: one per core.
        memory: bytes that a stage needs; 0: not counted.
    """
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    cpus = [count for count in cpus if count]
    threads = min(sum(cpus) // stages, *cpus, _most()) if stages and cpus else 1
    return Share(max(threads, 1), memory=memory)


def gpu_share(nodes: Sequence[Node], part: float) -> Share:
    """Return a stage's share of nodes with GPUs; ``part`` is the fraction of a GPU that it needs.

    Each GPU gets as many cores as on the node with the fewest cores per GPU.
    """
    together = max(int(1 / part), 1)
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    cores = min(node.get("CPU", 0) / node["GPU"] for node in resources if node.get("GPU"))
    gpus = math.floor(10_000 / together) / 10_000  # Ray counts in these units
    return Share(max(min(int(cores / together), _most()), 1), gpus)


def _most() -> int:
    """Return the maximum number of threads, from $OMP_NUM_THREADS as in torch."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else 1 << 16
