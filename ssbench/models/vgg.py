"""VGG networks of 3x3 convolutions without bias, each followed by batch norm and ReLU.

The forms with 16 and 19 layers are from CIFAR pruning papers (Li et al. 2017; Liu et al. 2017),
with one linear layer instead of three. ``width`` multiplies all channels.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from ssbench.models.init import he_by_fan_out, scaled

_VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool",
          512, 512, 512)  # fmt: skip
_VGG19 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool", 512, 512, 512, 512, "pool",
          512, 512, 512, 512)  # fmt: skip


class VGG(nn.Module):
    """Convolutions and pooling, a global average, one linear layer."""

    def __init__(self, layers: Sequence[int | str], channels: int, classes: int) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for layer in layers:
            if isinstance(layer, str):
                modules.append(nn.MaxPool2d(2))
                continue
            conv = nn.Conv2d(channels, layer, 3, padding=1, bias=False)
            modules += [conv, nn.BatchNorm2d(layer), nn.ReLU(inplace=True)]
            channels = layer
        self.features = nn.Sequential(*modules)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)
        he_by_fan_out(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        result: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return result


def _scaled(layers: Sequence[int | str], width: float) -> list[int | str]:
    return [layer if isinstance(layer, str) else scaled(layer, width) for layer in layers]


def vgg6(channels: int, classes: int, width: float = 1.0) -> VGG:
    """Build six convolutions (32-32-64-64-128-128) with two poolings, for 8 to 28 pixels."""
    return VGG(_scaled((32, 32, "pool", 64, 64, "pool", 128, 128), width), channels, classes)


def vgg_small(channels: int, classes: int, width: float = 1.0) -> VGG:
    """Build six convolutions (16-16-32-32-64-64) with two poolings, for 28 pixels on a CPU."""
    return VGG(_scaled((16, 16, "pool", 32, 32, "pool", 64, 64), width), channels, classes)


def vgg16(channels: int, classes: int, width: float = 1.0) -> VGG:
    """Build VGG-16 for 32 pixels (Li et al. 2017)."""
    return VGG(_scaled(_VGG16, width), channels, classes)


def vgg19(channels: int, classes: int, width: float = 1.0) -> VGG:
    """Build the VGGNet of network slimming, 19 layers, for 32 pixels (Liu et al. 2017)."""
    return VGG(_scaled(_VGG19, width), channels, classes)
