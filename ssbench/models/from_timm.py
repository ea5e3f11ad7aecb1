"""timm's networks, by their names there: ``vit_tiny_patch16_224``, ``resnet18.a1_in1k``."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ssbench.errors import BadInputError, nearest
from ssbench.paths import install

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

TIMM = "timm:"


def check(name: str, place: str) -> None:
    """Check that timm has a network of this name, and weights of its tag.

    Raises:
        BadInputError: it has not, or is not installed; names ``place``.
    """
    if find_spec("timm") is None:
        raise BadInputError(
            f"{place}: {TIMM}{name} needs the package timm; {install('timm')}, or choose one "
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


def attends_by_function(name: str) -> bool:
    """Whether a network may give weights of its attention to functions."""
    import timm

    families = ("beit", "eva", "swin_transformer_v2")
    return bool(timm.models.is_model_in_modules(name.partition(".")[0], families))


_UPSAMPLING = (
    "coat", "cpubone", "crossvit", "csatv2", "efficientformer_v2", "ghostnet", "hiera",
    "hieradet_sam2", "hrnet", "mobilenetv5", "mobilevit", "mvitv2", "naflexvit", "nest",
    "qwen3_vit", "vision_transformer_sam",
)  # fmt: skip
"""timm's modules that call ``interpolate``."""


def upsamples(name: str) -> bool:
    """Whether a network may enlarge its maps."""
    import timm

    plain = name.partition(".")[0]
    found = timm.models.is_model_in_modules(plain, _UPSAMPLING)
    return bool(found) or plain.startswith("mobilenetv4")


def maker_of(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds a network, for its arguments."""
    import timm

    made: Callable[..., nn.Module] = timm.model_entrypoint(name.partition(".")[0])
    return made


def build(
    name: str,
    channels: int,
    classes: int,
    size: tuple[int, int] | None,
    arguments: Mapping[str, Any],
) -> nn.Module:
    """Build a network; arguments as for `ssbench.models.registry.build`."""
    import timm

    given = {"in_chans": channels, "num_classes": classes, **arguments}
    if size and "img_size" not in given and _is_for_one_size(name, channels, size):
        given["img_size"] = size
    model: nn.Module = timm.create_model(name, **given)
    return model


@cache
def _is_for_one_size(name: str, channels: int, size: tuple[int, int]) -> bool:
    """Whether a network refuses images of this size, unless it is built for them."""
    import timm
    import torch

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.fixed_input_size or cfg.input_size[1:] == size:
        return False
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            timm.create_model(name, in_chans=channels).eval()(torch.zeros(1, channels, *size))
        except (RuntimeError, AssertionError, ValueError, TypeError):
            return _takes_size(name, channels, size)
    return False


def _takes_size(name: str, channels: int, size: tuple[int, int]) -> bool:
    import timm

    try:
        timm.create_model(name, in_chans=channels, img_size=size)
    except Exception:  # timm raises any kind; the network then refuses the images itself
        return False
    return True
