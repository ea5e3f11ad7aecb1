"""Sample masks: whether each of the same few thousand weights is kept, for every method.

The overlap of two samples estimates the overlap of two masks. A sample of 4,096 weights takes 700
characters of a record; a mask of ResNet-50 takes three megabytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssbench.pruning.graph.structure import Structure
from ssbench.seeds import derive

SAMPLED = 4096


def mask_sample(
    structure: Structure, model: nn.Module, masks: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Sample the masks of all prunable weights.

    Args:
        structure: of the network.
        model: the plain network; its shapes alone decide which weights are sampled.
        masks: boolean, by weight name, in the weight's shape; default: keep all.

    Returns:
        ``weights``, the number sampled, and ``kept``, one bit for each (base64, the first weight in
        the highest bit).
    """
    names = [layer.weight for layer in structure.prunable]
    sizes = {name: model.get_parameter(name).numel() for name in names}
    flat = [
        masks[name].reshape(-1).cpu() if name in masks else torch.ones(size, dtype=torch.bool)
        for name, size in sizes.items()
    ]
    bits = torch.cat(flat)
    if len(bits) > SAMPLED:
        generator = torch.Generator().manual_seed(derive(0, "weights of a mask's sample"))
        bits = bits[torch.randint(len(bits), (SAMPLED,), generator=generator).sort().values]
    packed = np.packbits(bits.numpy())
    return {"weights": len(bits), "kept": base64.b64encode(packed.tobytes()).decode()}
