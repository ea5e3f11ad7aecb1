"""The networks and data sets that have a name, as far as they can be told without torch.

How they are built and read: `ssbench.models.catalogue` and `ssbench.data.catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """A network for small images, of ten classes.

    Attributes:
        params: numbers in all parameters.
        image: the sides in pixels that it takes.
        channels: of the images that ``params`` is counted for; others may be asked for.
    """

    summary: str
    params: int
    image: str = "8 to 32"
    channels: int = 3


NETWORKS: dict[str, Network] = {
    "vgg6": Network(
        "Six convolutions (32-32-64-64-128-128) and two poolings, for 8 to 28 pixels", 288_746
    ),
    "vgg-small": Network(
        "Six narrow convolutions (16-16-32-32-64-64) and two poolings, for 28 pixels on a CPU",
        72_954,
    ),
    "vgg16": Network("VGG-16 for 32 pixels (Li et al. 2017)", 14_724_042),
    "vgg19": Network("VGGNet of network slimming, 19 layers (Liu et al. 2017)", 20_035_018),
    "lenet5": Network("LeNet-5-Caffe (Louizos et al. 2018)", 431_080, "28", 1),
    "resnet18": Network("ResNet-18 with the 3x3 stem used for 32 pixels", 11_173_962),
    "resnet20": Network("ResNet-20 for CIFAR, with projection shortcuts", 272_474),
    "resnet56": Network("ResNet-56 for CIFAR, with projection shortcuts", 855_770),
    "resnet110": Network("ResNet-110 for CIFAR, with projection shortcuts", 1_730_714),
    "resnet164": Network(
        "Pre-activation ResNet-164 of bottlenecks for CIFAR (He et al. 2016b)", 1_703_258
    ),
    "wrn28-10": Network(
        "Wide ResNet 28-10 for CIFAR, without dropout (Zagoruyko and Komodakis 2016)", 36_479_194
    ),
    "densenet40": Network(
        "DenseNet-40 with growth 12, no bottleneck and no compression (Liu et al. 2017)", 1_059_298
    ),
    "mobilenet": Network(
        "MobileNet-V1 at half width, its stem at stride 1, for 32 pixels (Howard et al. 2017)",
        823_722,
    ),
}


@dataclass(frozen=True)
class ForImageNet:
    """A network of torchvision's for 224 pixels and a thousand classes, under a name of ours."""

    torchvision: str
    summary: str
    params: int


IMAGENET: dict[str, ForImageNet] = {
    "resnet18-imagenet": ForImageNet("resnet18", "ResNet-18 (He et al. 2016)", 11_689_512),
    "resnet34-imagenet": ForImageNet("resnet34", "ResNet-34 (He et al. 2016)", 21_797_672),
    "resnet50": ForImageNet(
        "resnet50", "ResNet-50, stride in the 3x3 (He et al. 2016)", 25_557_032
    ),
    "mobilenet-v2": ForImageNet("mobilenet_v2", "MobileNet-V2 (Sandler et al. 2018)", 3_504_872),
    "shufflenet-v2": ForImageNet(
        "shufflenet_v2_x1_0", "ShuffleNet-V2 1x (Ma et al. 2018)", 2_278_604
    ),
    "mnasnet": ForImageNet("mnasnet1_0", "MnasNet-B1 (Tan et al. 2019)", 4_383_312),
    "efficientnet-b0": ForImageNet(
        "efficientnet_b0", "EfficientNet-B0 (Tan and Le 2019)", 5_288_548
    ),
}


@dataclass(frozen=True)
class Pictures:
    """A data set.

    Attributes:
        shape: of an image: channels, height, width.
        images: for training, validation and test.
    """

    shape: tuple[int, int, int]
    classes: int
    images: tuple[int, int, int]
    summary: str


_MNIST = ((1, 28, 28), 10, (55_000, 5_000, 10_000))
_CIFAR = ((3, 32, 32), (45_000, 5_000, 10_000))
DATASETS: dict[str, Pictures] = {
    "digits": Pictures(
        (1, 8, 8), 10, (1000, 297, 500), "Handwritten digits in grey; they ship with scikit-learn"
    ),
    "fashion-mnist": Pictures(*_MNIST, "Clothes in grey (Xiao et al. 2017)"),
    "mnist": Pictures(*_MNIST, "Handwritten digits in grey (LeCun et al. 1998)"),
    "cifar10": Pictures(
        _CIFAR[0], 10, _CIFAR[1], "Photographs in colour, ten classes (Krizhevsky 2009)"
    ),
    "cifar100": Pictures(
        _CIFAR[0], 100, _CIFAR[1], "Photographs in colour, 100 classes (Krizhevsky 2009)"
    ),
    "svhn": Pictures(
        (3, 32, 32), 10, (68_257, 5_000, 26_032), "House numbers in colour (Netzer et al. 2011)"
    ),
    "imagenet": Pictures(
        (3, 224, 224),
        1000,
        (1_271_167, 10_000, 50_000),
        "ImageNet-1k; needs an account at image-net.org (Russakovsky et al. 2015)",
    ),
    "synthetic": Pictures(
        (3, 32, 32), 10, (4000, 500, 1000), "Coloured shapes, drawn by program: to try, no result"
    ),
}
