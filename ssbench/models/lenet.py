"""LeNet-5 in the Caffe form (20-50-800-500), as in the L0 paper; no batch norm."""

from torch import Tensor, nn

from ssbench.models.init import scaled


class LeNet5(nn.Module):
    """Two 5x5 convolutions with pooling, two linear layers."""

    def __init__(self, channels: int, classes: int, width: float) -> None:
        super().__init__()
        first, second, third = (scaled(each, width) for each in (20, 50, 500))
        self.conv1 = nn.Conv2d(channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.pool = nn.MaxPool2d(2)
        self.act = nn.ReLU()
        self.fc1 = nn.Linear(16 * second, third)
        self.fc2 = nn.Linear(third, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, 28, 28] to logits [N, classes]."""
        maps = self.pool(self.act(self.conv1(images)))
        maps = self.pool(self.act(self.conv2(maps)))
        result: Tensor = self.fc2(self.act(self.fc1(maps.flatten(1))))
        return result


def lenet5(channels: int, classes: int, width: float = 1.0) -> LeNet5:
    """Build LeNet-5-Caffe for 28 pixels (Louizos et al. 2018)."""
    return LeNet5(channels, classes, width)
