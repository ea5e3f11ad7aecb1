"""DenseNet for small images (Huang et al. 2017), as in network slimming."""

import torch
from torch import Tensor, nn

from ssbench.models.init import he_by_fan_out


class DenseLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, whose output is concatenated to its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.act = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C + growth, H, W]."""
        return torch.cat((maps, self.conv(self.act(self.bn(maps)))), 1)


def _transition(channels: int) -> list[nn.Module]:
    """Return a transition that keeps the channels (no compression) and halves the size."""
    return [
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.AvgPool2d(2),
    ]


class DenseNet(nn.Module):
    """A stem, three dense blocks with transitions in between, one linear layer."""

    def __init__(self, depth: int, growth: int, channels: int, classes: int) -> None:
        super().__init__()
        if depth < 7 or (depth - 4) % 3:
            raise ValueError(f"depth must be 4 and a multiple of 3, as 40 (found {depth})")
        width = 2 * growth
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        modules: list[nn.Module] = []
        for block in range(3):
            if block:
                modules += _transition(width)
            for _ in range((depth - 4) // 3):
                modules.append(DenseLayer(width, growth))
                width += growth
        self.features = nn.Sequential(*modules)
        self.bn = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, classes)
        he_by_fan_out(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        maps = self.act(self.bn(self.features(self.conv(images))))
        result: Tensor = self.classifier(self.pool(maps).flatten(1))
        return result


def densenet40(channels: int, classes: int, depth: int = 40, growth: int = 12) -> DenseNet:
    """Build DenseNet-40 with growth 12, no bottleneck and no compression (Liu et al. 2017)."""
    return DenseNet(depth, growth, channels, classes)
