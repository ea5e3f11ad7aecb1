"""Check that all processes have the same network, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by width in bytes."""


def fingerprints(model: nn.Module, device: torch.device) -> Tensor:
    """Return two int64 checksums: of all parameters and buffers, and of the generators' states."""
    generators = [torch.get_rng_state()]
    if device.type == "cuda":
        generators.append(torch.cuda.get_rng_state(device))
    of_model = _checksum([*model.parameters(), *model.buffers()], device)
    return torch.stack([of_model, _checksum(generators, device)])


def _checksum(tensors: Iterable[Tensor], device: torch.device) -> Tensor:
    """Sum the bits as integers, each times its position; overflow is intended."""
    total = torch.zeros((), dtype=torch.int64, device=device)
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        bits = flat.view(_WHOLE[flat.element_size()]).to(device, torch.int64)
        places = torch.arange(1, bits.numel() + 1, device=device)
        total = 31 * total + (bits * places).sum()
    return total
