"""Networks by name: each builder takes (image channels, classes) and returns a plain module."""

from collections.abc import Callable

from torch import nn

from ssbench.models import densenet, lenet, mobilenet, resnet, vgg

Builder = Callable[[int, int], nn.Module]

MODELS: dict[str, Builder] = {
    "vgg6": vgg.vgg6,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "lenet5": lenet.lenet5,
    "resnet18": resnet.resnet18,
    "resnet20": resnet.resnet20,
    "resnet56": resnet.resnet56,
    "densenet40": densenet.densenet40,
    "mobilenet": mobilenet.mobilenet,
}
