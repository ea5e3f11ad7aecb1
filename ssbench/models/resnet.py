"""Residual networks for small images (He et al. 2016): 3x3 stem, basic blocks, projections.

``width`` multiplies all channels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ssbench.models.init import he_by_fan_out, scaled


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, with a projection if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU(inplace=True)
        self.act2 = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        branch = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(maps)))))
        result: Tensor = self.act2(branch + self.shortcut(maps))
        return result


class ResNet(nn.Module):
    """A stem, stages of blocks (each but the first halves the size), one linear layer."""

    def __init__(
        self, widths: Sequence[int], depths: Sequence[int], channels: int, classes: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.act = nn.ReLU(inplace=True)
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                blocks.append(Block(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)
        he_by_fan_out(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        maps = self.blocks(self.act(self.bn(self.conv(images))))
        result: Tensor = self.classifier(self.pool(maps).flatten(1))
        return result


def _scaled(widths: Sequence[int], width: float) -> list[int]:
    return [scaled(each, width) for each in widths]


def resnet18(channels: int, classes: int, width: float = 1.0) -> ResNet:
    """Build ResNet-18 with the 3x3 stem for 32 pixels."""
    return ResNet(_scaled((64, 128, 256, 512), width), (2, 2, 2, 2), channels, classes)


def resnet20(channels: int, classes: int, width: float = 1.0) -> ResNet:
    """Build ResNet-20 for CIFAR, with projection shortcuts."""
    return ResNet(_scaled((16, 32, 64), width), (3, 3, 3), channels, classes)


def resnet56(channels: int, classes: int, width: float = 1.0) -> ResNet:
    """Build ResNet-56 for CIFAR, with projection shortcuts."""
    return ResNet(_scaled((16, 32, 64), width), (9, 9, 9), channels, classes)


def resnet110(channels: int, classes: int, width: float = 1.0) -> ResNet:
    """Build ResNet-110 for CIFAR, with projection shortcuts."""
    return ResNet(_scaled((16, 32, 64), width), (18, 18, 18), channels, classes)
