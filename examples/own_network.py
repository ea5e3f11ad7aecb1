"""A network of your own: a class in a file; ssbench passes the channels and classes of the data.

The harness traces a network with torch.fx, so that any static graph of convolutions, batch norms,
linear layers, sums and concatenations will do.

>>> uv run ssbench check examples/own_network.py:TwoPaths --data digits
>>> uv run ssbench run examples/own_network.toml --set seeds=[0,1,2]
"""

from torch import Tensor, nn


class TwoPaths(nn.Module):
    """Two branches of different kernel size, summed, then a classifier."""

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.stem = _block(channels, 16, 3)
        self.wide, self.narrow = _block(16, width, 3), _block(16, width, 1)
        self.classify = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """From images [N, C, H, W] to logits [N, classes]."""
        features = self.stem(images)
        both = self.wide(features) + self.narrow(features)
        logits: Tensor = self.classify(both.mean((2, 3)))
        return logits


def _block(channels: int, out: int, size: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())
