"""Where the epochs of a training were computed: with the seed, that decides their last digits.

Sums are taken in another order by another number of threads or devices. A training that is gone on
with elsewhere is as good as one that is not, but no longer the same in every bit, and its record
says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ssbench.training.device import name

Origin = dict[str, Any]
"""``epochs``: so many; ``threads`` (None on a GPU), ``devices`` and ``device_name``: by what."""


def origin(device: torch.device, devices: int) -> Origin:
    """Where this process computes; of no epochs yet."""
    threads = torch.get_num_threads() if device.type == "cpu" else None
    return {"epochs": 0, "threads": threads, "devices": devices, "device_name": name(device)}


def extended(before: Sequence[Origin], here: Origin, epochs: int) -> list[Origin]:
    """Add what was done here to what was done before.

    Args:
        before: the origins of the first epochs.
        here: that of the others.
        epochs: so many there are in all.
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
