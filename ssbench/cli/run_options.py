"""Options of `ssbench run` that depend on each other."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from ssbench.errors import BadInputError


class Executor(StrEnum):
    """Where stages run."""

    LOCAL = "local"
    RAY = "ray"


def concurrency_of(text: str | None) -> int | Literal["auto"] | None:
    """Read ``--concurrency``.

    Raises:
        BadInputError: neither a number of processes nor auto.
    """
    if text is None or text == "auto":
        return "auto" if text else None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise BadInputError(f"--concurrency {text}: write a number of processes, at least 1, or auto")


def devices_of(devices: int, concurrency: str | None, executor: Executor) -> int:
    """Return ``--devices``.

    Raises:
        BadInputError: another option does not go with it.
    """
    if devices > 1 and (concurrency or "1") != "1":
        raise BadInputError(
            f"--devices {devices}: each stage uses all devices; leave out --concurrency"
        )
    if devices > 1 and executor is Executor.RAY:
        raise BadInputError(
            f"--devices {devices}: Ray gives each stage one GPU; leave out --devices or "
            "--executor ray"
        )
    return devices


def address_of(executor: Executor, address: str | None) -> str:
    """Return the address of the Ray cluster.

    Raises:
        BadInputError: there is an address without Ray.
    """
    if address is not None and executor is not Executor.RAY:
        raise BadInputError(f"--address {address}: only for a Ray cluster; add --executor ray")
    return address or "local"
