"""Every network by name: ssbench's, and those of torchvision and timm.

>>> build("resnet56", 3, 10)
>>> build("resnet50", 3, 1000)
>>> build("timm:resnet10t", 3, 1000)      # needs timm
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssbench.errors import BadInputError, nearest
from ssbench.models import from_timm
from ssbench.models.from_timm import TIMM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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

    def __call__(self, channels: int, classes: int, **arguments: Any) -> nn.Module:
        """Build the network with the weights that torch's global generator draws."""
        made: nn.Module = self.function(channels, classes, **arguments)
        return made

    @property
    def function(self) -> Callable[..., nn.Module]:
        """The function that builds it."""
        module, _, name = self.builder.partition(":")
        found: Callable[..., nn.Module] = getattr(import_module(f"ssbench.models.{module}"), name)
        return found


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
    untouched: str = ""
    """Layers that no pruning of whole filters reaches."""


IMAGENET: dict[str, ForImageNet] = {
    "resnet18-imagenet": ForImageNet("resnet18", "ResNet-18 (He et al. 2016)", 11_689_512),
    "resnet34-imagenet": ForImageNet("resnet34", "ResNet-34 (He et al. 2016)", 21_797_672),
    "resnet50": ForImageNet(
        "resnet50", "ResNet-50, stride in the 3x3 (He et al. 2016)", 25_557_032
    ),
    "mobilenet-v2": ForImageNet("mobilenet_v2", "MobileNet-V2 (Sandler et al. 2018)", 3_504_872),
    "shufflenet-v2": ForImageNet(
        "shufflenet_v2_x1_0",
        "ShuffleNet-V2 1x (Ma et al. 2018)",
        2_278_604,
        "4 layers at shuffles (5.6% of params, 3.9% of MACs) cannot be pruned",
    ),
    "mnasnet": ForImageNet("mnasnet1_0", "MnasNet-B1 (Tan et al. 2019)", 4_383_312),
    "efficientnet-b0": ForImageNet(
        "efficientnet_b0", "EfficientNet-B0 (Tan and Le 2019)", 5_288_548
    ),
}


TORCHVISION = "torchvision:"


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
        from_timm.check(name.removeprefix(TIMM), place)
    elif name not in MODELS:
        raise BadInputError(f"{place}: unknown model {name!r}; {suggest(name)}")


def is_known(name: str) -> bool:
    """Whether a name is one of ssbench's, or begins as one of torchvision or timm."""
    return name in MODELS or name in IMAGENET or name.startswith((TORCHVISION, TIMM))


def suggest(name: str, more: Iterable[str] = ()) -> str:
    """Suggest the network that was probably meant; ``more`` are names of a user's own."""
    known = nearest(name, [*MODELS, *IMAGENET, *more], "ssbench list models")
    return f"{known}; or {TORCHVISION}NAME, {TIMM}NAME, FILE.py:NAME"


def build(
    name: str,
    channels: int,
    classes: int,
    *,
    size: tuple[int, int] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network with the weights that torch's global generator draws.

    Args:
        name: one of `MODELS` or `IMAGENET`, ``torchvision:NAME`` or ``timm:NAME``.
        channels: of the images.
        classes: the width of its output.
        size: height and width of the images, for timm's networks that are made for one size.
        arguments: further ones of the network.

    Raises:
        BadInputError: an unknown name, or the network takes only colour images.
    """
    check(name, "model")
    more = dict(arguments or {})
    if name in MODELS:
        return MODELS[name](channels, classes, **more)
    original = torchvision_name(name)
    if original is None:
        return from_timm.build(name.removeprefix(TIMM), channels, classes, size, more)
    if channels != 3:
        raise BadInputError(
            f"model: {name} takes images of 3 channels, and these have {channels}; choose one "
            f"that ssbench list models lists for other images, for example {next(iter(MODELS))}"
        )
    return _torchvision(original, classes, more)


def maker_of(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds a network, for its arguments."""
    original = torchvision_name(name)
    if name in MODELS:
        return MODELS[name].function
    if original is not None:
        import torchvision

        found: Callable[..., nn.Module] = torchvision.models.get_model_builder(original)
        return found
    return from_timm.maker_of(name.removeprefix(TIMM))


_ATTENDING = (f"{TORCHVISION}swin_", f"{TORCHVISION}vit_")


def attends_by_function(name: str) -> bool:
    """Whether a network of torchvision or timm may give weights of its attention to functions."""
    if name.startswith(TIMM):
        return from_timm.attends_by_function(name.removeprefix(TIMM))
    return name.startswith(_ATTENDING)


def upsamples(name: str) -> bool:
    """Whether a network of timm may enlarge its maps."""
    return name.startswith(TIMM) and from_timm.upsamples(name.removeprefix(TIMM))


def torchvision_name(name: str) -> str | None:
    """Return torchvision's name of a network; None if it is not torchvision's."""
    if name in IMAGENET:
        return IMAGENET[name].torchvision
    return name.removeprefix(TORCHVISION) if name.startswith(TORCHVISION) else None


def _torchvision_names() -> list[str]:
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _torchvision(name: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    import torchvision

    # In training these two have more outputs than the logits.
    plain = {"aux_logits": False, "init_weights": True}
    given = {"weights": None, "num_classes": classes}
    given |= plain if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, **given | dict(arguments))
    return model


def network(name: str) -> str:
    """Return the same name for all names of a network: resnet50 and torchvision:resnet50."""
    original = torchvision_name(name)
    if original is not None:
        return TORCHVISION + original
    return name.partition(".")[0] if name.startswith(TIMM) else name
