"""A U-shaped classifier: maps shrink, grow again, and meet their own on the way.

>>> uv run ssbench check examples/u_shaped.py:UShaped --data digits
"""

import torch
from torch import Tensor, nn


class UShaped(nn.Module):
    """An encoder of two stages, a bottom, a decoder with skip connections, a classifier."""

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.first, self.second = _block(channels, width), _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.up_second, self.up_first = _block(6 * width, 2 * width), _block(3 * width, width)
        self.down = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2)
        self.classify = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """From images [N, C, H, W] to logits [N, classes]."""
        first = self.first(images)
        second = self.second(self.down(first))
        bottom = self.bottom(self.down(second))
        second = self.up_second(torch.cat([self.up(bottom), second], 1))
        first = self.up_first(torch.cat([self.up(second), first], 1))
        logits: Tensor = self.classify(first.mean((2, 3)))
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
