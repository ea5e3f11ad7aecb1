"""The state of torch's global generators, which gates and other noise draw from.

Python's and numpy's own are no part of it: nothing seeds them, and no method may draw from them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Draws = dict[str, Tensor]


def draws(device: torch.device) -> Draws:
    """Note where the generators of the CPU and of ``device`` are; no device is waited for."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_draws(noted: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back to where they were noted."""
    torch.set_rng_state(noted["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(noted["cuda"], device)
