"""Look at a network before any experiment: its size, and what no pruning of filters reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ssbench.method.contract import to_grain
from ssbench.models.architecture import Architecture
from ssbench.pipeline.precheck import reason_text
from ssbench.pruning.counting import count
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.units import Units
from ssbench.pruning.untouched import untouched

CHANNELS, CLASSES = 3, 10
PIXELS = (32, 64, 224, 28, 8)
"""The sides of images that are tried in turn."""


@dataclass(frozen=True)
class Examined:
    """What is known of a network for colour images of ten classes.

    Attributes:
        pixels: the side of the images; None: it takes none of those that were tried.
        untouched: layers that no pruning of whole filters reaches, in words.
        refused: why it cannot be used, in words.
    """

    pixels: int | None = None
    params: int | None = None
    untouched: str = ""
    refused: str = ""


def examine(architecture: Architecture, sides: Sequence[int] = PIXELS) -> Examined:
    """Build and count a network for the first side of images that it takes."""
    refused = ""
    for pixels in sides:
        try:
            with torch.random.fork_rng(devices=[]):
                network = architecture.build(CHANNELS, CLASSES, (pixels, pixels)).eval()
            dense = count(network, torch.zeros(1, CHANNELS, pixels, pixels))
            stays = str(untouched(_filters(network), dense))
        except Exception as error:  # torch and a user's code raise any kind
            refused = refused or reason_text(error)
            continue
        return Examined(pixels, dense.params, stays)
    return Examined(refused=refused)


def _filters(network: nn.Module) -> Units:
    """Return units as a method has that scores the filters of every layer."""
    structure = structure_of(network)
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    ones = {
        layer.weight: to_grain(torch.ones(shapes[layer.weight]), "filter")
        for layer in structure.prunable
    }
    return Units.of(structure, ones, shapes)
