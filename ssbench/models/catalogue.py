"""Every network by name: of this package, of torchvision for ImageNet, and any other of theirs.

>>> build("resnet56", 3, 10)
>>> build("resnet50", 3, 1000)
>>> build("timm:resnet10t", 3, 1000)      # where timm is installed
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from torch import nn

from ssbench.errors import BadInputError
from ssbench.models import densenet, lenet, mobilenet, preactivation, resnet, vgg
from ssbench.names import IMAGENET
from ssbench.nearest import nearest

Builder = Callable[[int, int], nn.Module]
"""Takes image channels and classes."""

MODELS: dict[str, Builder] = {
    "vgg6": vgg.vgg6,
    "vgg-small": vgg.vgg_small,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "lenet5": lenet.lenet5,
    "resnet18": resnet.resnet18,
    "resnet20": resnet.resnet20,
    "resnet56": resnet.resnet56,
    "resnet110": resnet.resnet110,
    "resnet164": preactivation.resnet164,
    "wrn28-10": preactivation.wrn28_10,
    "densenet40": densenet.densenet40,
    "mobilenet": mobilenet.mobilenet,
}
"""The networks for images of 8 to 32 pixels; `ssbench.names` says what they are."""


TORCHVISION, TIMM = "torchvision:", "timm:"


def check(name: str, place: str) -> None:
    """See that a network can be named so.

    Raises:
        BadInputError: names ``place`` and what is near, or the package that is not installed.
    """
    theirs = torchvision_name(name)
    if theirs is not None:
        known = _torchvision_names()
        if theirs not in known:
            raise BadInputError(
                f"{place}: torchvision has no classifier {theirs!r}; {nearest(theirs, known)}"
            )
    elif name.startswith(TIMM):
        _check_timm(name.removeprefix(TIMM), place)
    elif name not in MODELS:
        raise BadInputError(
            f"{place}: unknown model {name!r}; {nearest(name, [*MODELS, *IMAGENET])}; or "
            f"{TORCHVISION}NAME, {TIMM}NAME"
        )


def build(name: str, channels: int, classes: int, place: str = "model") -> nn.Module:
    """Build a network with the weights that torch's global generator draws.

    Args:
        name: one of `MODELS` or `IMAGENET`, ``torchvision:NAME`` or ``timm:NAME``.
        channels: of the images.
        classes: the width of its output.
        place: what named it, for errors.

    Raises:
        BadInputError: it is unknown, or takes colour images only.
    """
    check(name, place)
    if name in MODELS:
        return MODELS[name](channels, classes)
    theirs = torchvision_name(name)
    if theirs is None:
        return _timm(name.removeprefix(TIMM), channels, classes)
    if channels != 3:
        raise BadInputError(
            f"{place}: {name} takes images of 3 channels, and these have {channels}; choose one "
            f"of {', '.join(MODELS)}"
        )
    return _torchvision(theirs, classes)


def torchvision_name(name: str) -> str | None:
    """What torchvision calls a network; None where it is not one of theirs."""
    if name in IMAGENET:
        return IMAGENET[name].torchvision
    return name.removeprefix(TORCHVISION) if name.startswith(TORCHVISION) else None


def _torchvision_names() -> list[str]:
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _torchvision(name: str, classes: int) -> nn.Module:
    import torchvision

    # These two have outputs besides the logits while they train.
    plain = {"aux_logits": False, "init_weights": True}
    more = plain if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **more)
    return model


def _check_timm(name: str, place: str) -> None:
    if find_spec("timm") is None:
        raise BadInputError(
            f"{place}: {TIMM}{name} needs the package timm; install ssbench[timm], or choose one "
            f"of {', '.join([*MODELS, *IMAGENET])}"
        )
    import timm

    if not timm.is_model(name):
        raise BadInputError(
            f"{place}: timm has no model {name!r}; {nearest(name, timm.list_models())}"
        )


def _timm(name: str, channels: int, classes: int) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, in_chans=channels, num_classes=classes)
    return model
