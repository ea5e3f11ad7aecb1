"""A network of your own, under a name that timm knows; then train, prune and report it.

The harness traces a network with torch.fx, so that any static graph of convolutions, batch norms,
linear layers, sums and concatenations will do. A network registered like this exists in this
process only: leave out ``--concurrency`` and ``--executor ray``, or add it to
ssbench/models/registry.py.

>>> uv run python examples/own_network.py --set seeds=[0,1,2]
"""

import sys
from pathlib import Path

import torch
from timm.models import register_model
from torch import Tensor, nn

from ssbench.cli.app import main


class TwoPaths(nn.Module):
    """Two branches of different kernel size, summed, then a classifier."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = _block(channels, 16, 3)
        self.wide, self.narrow = _block(16, 32, 3), _block(16, 32, 1)
        self.classify = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        """From images [N, C, H, W] to logits [N, classes]."""
        features = self.stem(images)
        both = self.wide(features) + self.narrow(features)
        logits: Tensor = self.classify(both.mean((2, 3)))
        return logits


def _block(channels: int, out: int, size: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


@register_model
def two_paths(in_chans: int = 3, num_classes: int = 10, **_: object) -> nn.Module:
    """Build it as timm asks: `in_chans` and `num_classes` come from the data set."""
    return TwoPaths(in_chans, num_classes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    experiment = str(Path(__file__).with_suffix(".toml"))
    sys.argv = ["ssbench", "run", experiment, *sys.argv[1:]]
    main()
