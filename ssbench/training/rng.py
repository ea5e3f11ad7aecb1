"""The state of torch's global generators, which gates and other noise draw from.

Not those of Python and numpy: nothing seeds them, and no method may draw from them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Draws = dict[str, Tensor]


def draws(device: torch.device) -> Draws:
    """Return the generators' states of the CPU and ``device``, without waiting for a device."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_draws(noted: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the states of the generators."""
    torch.set_rng_state(noted["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(noted["cuda"], device)
