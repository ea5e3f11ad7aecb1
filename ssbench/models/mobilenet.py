"""MobileNet-V1 for small images (Howard et al. 2017): depthwise and pointwise convolutions."""

from torch import Tensor, nn

from ssbench.models.init import he_by_fan_out, scaled

_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1),
           (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1))  # fmt: skip
"""Output channels (at full width) and stride of each block."""


def _normed(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True)]


class MobileNet(nn.Module):
    """A stem, blocks of one depthwise and one pointwise convolution, one linear layer."""

    def __init__(self, width: float, channels: int, classes: int) -> None:
        super().__init__()
        inputs = scaled(32, width)
        modules = _normed(nn.Conv2d(channels, inputs, 3, padding=1, bias=False))
        for full, stride in _BLOCKS:
            outputs = scaled(full, width)
            modules += _normed(nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False))
            modules += _normed(nn.Conv2d(inputs, outputs, 1, bias=False))
            inputs = outputs
        self.features = nn.Sequential(*modules)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)
        he_by_fan_out(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        result: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return result


def mobilenet(channels: int, classes: int, width: float = 0.5) -> MobileNet:
    """Build MobileNet-V1 at half width with a stem of stride 1, for 32 pixels."""
    return MobileNet(width, channels, classes)
