"""Every network by name: ssbench's, and those of torchvision and timm.

>>> build("resnet56", 3, 10)
>>> build("resnet50", 3, 1000)
>>> build("timm:resnet10t", 3, 1000)      # needs timm
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ssbench.errors import BadInputError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Network:
    """A network for small images; call it with image channels and classes to build it.

    Attributes:
        builder: "module:function" in `ssbench.models`, so that listing needs no torch.
        params: numbers in all parameters, with ten classes.
        image: side lengths in pixels that it accepts.
        channels: of the images for which ``params`` counts; others are possible.
    """

    builder: str
    summary: str
    params: int
    image: str = "8 to 32"
    channels: int = 3

    def __call__(self, channels: int, classes: int) -> nn.Module:
        """Build the network with the weights that torch's global generator draws."""
        module, _, function = self.builder.partition(":")
        made: nn.Module = getattr(import_module(f"ssbench.models.{module}"), function)(
            channels, classes
        )
        return made


MODELS: dict[str, Network] = {
    "vgg6": Network(
        "vgg:vgg6",
        "Six convolutions (32-32-64-64-128-128) and two poolings, for 8 to 28 pixels",
        288_746,
    ),
    "vgg-small": Network(
        "vgg:vgg_small",
        "Six narrow convolutions (16-16-32-32-64-64) and two poolings, for 28 pixels on a CPU",
        72_954,
    ),
    "vgg16": Network("vgg:vgg16", "VGG-16 for 32 pixels (Li et al. 2017)", 14_724_042),
    "vgg19": Network(
        "vgg:vgg19", "VGGNet of network slimming, 19 layers (Liu et al. 2017)", 20_035_018
    ),
    "lenet5": Network("lenet:lenet5", "LeNet-5-Caffe (Louizos et al. 2018)", 431_080, "28", 1),
    "resnet18": Network(
        "resnet:resnet18", "ResNet-18 with the 3x3 stem used for 32 pixels", 11_173_962
    ),
    "resnet20": Network(
        "resnet:resnet20", "ResNet-20 for CIFAR, with projection shortcuts", 272_474
    ),
    "resnet56": Network(
        "resnet:resnet56", "ResNet-56 for CIFAR, with projection shortcuts", 855_770
    ),
    "resnet110": Network(
        "resnet:resnet110", "ResNet-110 for CIFAR, with projection shortcuts", 1_730_714
    ),
    "resnet164": Network(
        "preact_resnet:resnet164",
        "Pre-activation ResNet-164 of bottlenecks for CIFAR (He et al. 2016b)",
        1_703_258,
    ),
    "wrn28-10": Network(
        "preact_resnet:wrn28_10",
        "Wide ResNet 28-10 for CIFAR, without dropout (Zagoruyko and Komodakis 2016)",
        36_479_194,
    ),
    "densenet40": Network(
        "densenet:densenet40",
        "DenseNet-40 with growth 12, no bottleneck and no compression (Liu et al. 2017)",
        1_059_298,
    ),
    "mobilenet": Network(
        "mobilenet:mobilenet",
        "MobileNet-V1 at half width, its stem at stride 1, for 32 pixels (Howard et al. 2017)",
        823_722,
    ),
}
"""The networks for small images; functions of `ssbench.models` build them."""


@dataclass(frozen=True)
class ForImageNet:
    """A network of torchvision for 224 pixels and a thousand classes, under ssbench's name."""

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


TORCHVISION, TIMM = "torchvision:", "timm:"


def check(name: str, place: str) -> None:
    """Check that a network of this name exists.

    Raises:
        BadInputError: names ``place`` and similar names, or the missing package.
    """
    original = torchvision_name(name)
    if original is not None:
        known = _torchvision_names()
        if original not in known:
            raise BadInputError(
                f"{place}: torchvision has no classifier {original!r}; "
                f"{nearest(original, known, 'torchvision.models.list_models()')}"
            )
    elif name.startswith(TIMM):
        _check_timm(name.removeprefix(TIMM), place)
    elif name not in MODELS:
        raise BadInputError(
            f"{place}: unknown model {name!r}; "
            f"{nearest(name, [*MODELS, *IMAGENET], 'ssbench list models')}; or "
            f"{TORCHVISION}NAME, {TIMM}NAME"
        )


def build(name: str, channels: int, classes: int, place: str = "model") -> nn.Module:
    """Build a network with the weights that torch's global generator draws.

    Args:
        name: one of `MODELS` or `IMAGENET`, ``torchvision:NAME`` or ``timm:NAME``.
        channels: of the images.
        classes: the width of its output.
        place: the key that names it, for errors.

    Raises:
        BadInputError: an unknown name, or the network takes only colour images.
    """
    check(name, place)
    if name in MODELS:
        return MODELS[name](channels, classes)
    original = torchvision_name(name)
    if original is None:
        return _timm(name.removeprefix(TIMM), channels, classes)
    if channels != 3:
        raise BadInputError(
            f"{place}: {name} takes images of 3 channels, and these have {channels}; choose one "
            f"that ssbench list models lists for other images, for example {next(iter(MODELS))}"
        )
    return _torchvision(original, classes)


def torchvision_name(name: str) -> str | None:
    """Return torchvision's name of a network; None if it is not torchvision's."""
    if name in IMAGENET:
        return IMAGENET[name].torchvision
    return name.removeprefix(TORCHVISION) if name.startswith(TORCHVISION) else None


def _torchvision_names() -> list[str]:
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _torchvision(name: str, classes: int) -> nn.Module:
    import torchvision

    # In training these two have more outputs than the logits.
    plain = {"aux_logits": False, "init_weights": True}
    more = plain if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **more)
    return model


def _check_timm(name: str, place: str) -> None:
    if find_spec("timm") is None:
        raise BadInputError(
            f"{place}: {TIMM}{name} needs the package timm; install ssbench[timm], or choose one "
            "of ssbench list models"
        )
    import timm

    if not timm.is_model(name):
        raise BadInputError(
            f"{place}: timm has no model {name!r}; "
            f"{nearest(name, timm.list_models(), 'timm.list_models()')}"
        )
    plain, tagged, tag = name.partition(".")
    known = [each.partition(".")[2] for each in timm.list_pretrained(f"{plain}.*")]
    if tagged and tag not in known:
        raise BadInputError(
            f"{place}: timm has no weights {tag!r} of {plain!r}; {nearest(tag, known)}"
        )


def check_untagged(name: str, place: str) -> None:
    """Check that the name of a network with random weights has no tag of published ones.

    Raises:
        BadInputError: the name has a tag of timm's; names ``place`` and the plain name.
    """
    original, tagged, tag = name.removeprefix(TIMM).partition(".")
    if not name.startswith(TIMM):
        return
    import timm

    renamed = timm.models.get_deprecated_models().get(original)
    if renamed:
        original, tagged, tag = renamed.partition(".")
    if renamed or tagged:
        raise BadInputError(
            f"{place}: {name!r} names the weights {tag!r} of {original!r}, but trainings start "
            f"with random ones; write {TIMM + original!r}, or start = 'published'"
        )


def network(name: str) -> str:
    """Return the same name for all names of a network: resnet50 and torchvision:resnet50."""
    original = torchvision_name(name)
    if original is not None:
        return TORCHVISION + original
    return name.partition(".")[0] if name.startswith(TIMM) else name


def _timm(name: str, channels: int, classes: int) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, in_chans=channels, num_classes=classes)
    return model
