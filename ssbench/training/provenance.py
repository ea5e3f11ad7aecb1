"""Where the epochs of a training were computed, which decides their last digits.

Another number of threads or devices adds in another order. A training that resumes elsewhere is as
good, but no longer bit-identical, and its record says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ssbench.training.device import name

Origin = dict[str, Any]
"""A number of ``epochs``, and the ``threads`` (None on a GPU), ``devices`` and ``device_name``."""


def origin(device: torch.device, devices: int) -> Origin:
    """Return where this process computes, with no epochs yet."""
    threads = torch.get_num_threads() if device.type == "cpu" else None
    return {"epochs": 0, "threads": threads, "devices": devices, "device_name": name(device)}


def extended(before: Sequence[Origin], here: Origin, epochs: int) -> list[Origin]:
    """Add the epochs computed here to the earlier ones.

    Args:
        before: the origins of the first epochs.
        here: the origin of the others.
        epochs: their number in all.
    """
    new = here | {"epochs": epochs - sum(each["epochs"] for each in before)}
    if not new["epochs"]:
        return [*before]
    if before and alike(before[-1], here):
        return [*before[:-1], new | {"epochs": before[-1]["epochs"] + new["epochs"]}]
    return [*before, new]


def alike(one: Origin, other: Origin) -> bool:
    """Whether two origins give the same digits."""
    return one | {"epochs": 0} == other | {"epochs": 0}
