"""Pre-activation residual networks for 32 pixels (He et al. 2016b).

ResNet-164 has bottlenecks, as in network slimming; WRN-28-10 (Zagoruyko and Komodakis 2016) has
wide basic blocks, as in the L0 paper. ``width`` multiplies all channels but the stem's.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ssbench.models.init import he_by_fan_out, scaled


class PreActivation(nn.Module):
    """Batch norm, ReLU and convolution, several times, and a shortcut.

    If the shape changes, the shortcut is a 1x1 convolution of the first ReLU's output.
    """

    def __init__(self, widths: Sequence[int], kernels: Sequence[int], stride: int) -> None:
        """Take the channels before, between and after the convolutions, and their kernel sizes.

        The first convolution with a kernel over 1 has the stride.
        """
        super().__init__()
        strided = next(index for index, kernel in enumerate(kernels) if kernel > 1)
        self.bn = nn.BatchNorm2d(widths[0])
        self.act = nn.ReLU(inplace=False)  # the shortcut may read its input
        modules: list[nn.Module] = []
        for index, ((inputs, outputs), kernel) in enumerate(
            zip(pairwise(widths), kernels, strict=True)
        ):
            if index:
                modules += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
            step = stride if index == strided else 1
            modules.append(nn.Conv2d(inputs, outputs, kernel, step, kernel // 2, bias=False))
        self.branch = nn.Sequential(*modules)
        self.projection: nn.Conv2d | None = None
        if stride != 1 or widths[0] != widths[-1]:
            self.projection = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        active = self.act(self.bn(maps))
        shortcut = maps if self.projection is None else self.projection(active)
        result: Tensor = self.branch(active) + shortcut
        return result


class PreActivationNet(nn.Module):
    """A stem, three stages (the second and third begin with stride 2), batch norm, one linear."""

    def __init__(self, blocks: Sequence[PreActivation], channels: int, classes: int) -> None:
        super().__init__()
        stem, width = blocks[0].bn.num_features, blocks[-1].branch[-1].out_channels
        self.conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(int(width))  # type: ignore[arg-type]
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(int(width), classes)  # type: ignore[arg-type]
        he_by_fan_out(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        maps = self.act(self.bn(self.blocks(self.conv(images))))
        result: Tensor = self.classifier(self.pool(maps).flatten(1))
        return result


def _blocks(outputs: Sequence[int], depth: int, *, shrink: int) -> list[PreActivation]:
    """Build all blocks; ``shrink`` 1: two 3x3 convolutions, otherwise a bottleneck."""
    kernels = (3, 3) if shrink == 1 else (1, 3, 1)
    blocks, inputs = [], 16
    for stage, width in enumerate(outputs):
        for block in range(depth):
            between = [width // shrink] * (len(kernels) - 1)
            stride = 2 if stage and not block else 1
            blocks.append(PreActivation([inputs, *between, width], kernels, stride))
            inputs = width
    return blocks


def resnet164(channels: int, classes: int, width: float = 1.0) -> PreActivationNet:
    """Build pre-activation ResNet-164 with bottlenecks for CIFAR (He et al. 2016b)."""
    inner = [scaled(each, width) for each in (16, 32, 64)]
    return PreActivationNet(_blocks([4 * each for each in inner], 18, shrink=4), channels, classes)


def wrn28_10(channels: int, classes: int, width: float = 1.0) -> PreActivationNet:
    """Build Wide ResNet 28-10 for CIFAR, without dropout (Zagoruyko and Komodakis 2016)."""
    widths = [scaled(each, width) for each in (160, 320, 640)]
    return PreActivationNet(_blocks(widths, 4, shrink=1), channels, classes)
