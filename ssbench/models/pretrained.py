"""Published ImageNet weights of torchvision and timm, to start trainings from.

The name of each file ends with the first digits of its SHA-256; other files are refused.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ssbench.errors import BadInputError
from ssbench.models.registry import IMAGENET, TIMM, TORCHVISION, check, torchvision_name
from ssbench.models.state_dict import restore

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
"""Old names in DenseNet's files, which torchvision has since changed."""
WHICH = "IMAGENET1K_V1"
"""torchvision's first weights of a network, which the literature prunes."""
TRANSFORM_INPUT = ("googlenet", "inception_v3")
"""torchvision's networks that rescale their images with these weights."""
INCEPTION = (0.5, 0.5, 0.5)
"""Mean and standard deviation in the training of those weights."""
_VERIFIED = re.compile(r"-[0-9a-f]{8,}\.pth$")


@dataclass(frozen=True)
class Published:
    """Weights of a network, and the preprocessing of their authors' evaluation.

    Attributes:
        url: their address; ends with the first digits of their SHA-256.
        resize: pixels of the shorter side, or height and width, before cropping.
        crop: height and width in pixels of the middle part.
        interpolation: by its name in torchvision.
        mean: by channel, of values 0 to 1.
        sd: by channel, of values 0 to 1.
    """

    url: str
    resize: tuple[int, ...]
    crop: int
    interpolation: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def published(name: str, place: str) -> Published:
    """Find the published weights of a network; for timm's, by its tag or the default ones.

    Raises:
        BadInputError: there are no usable ones; names ``place``.
    """
    if name.startswith(TIMM):
        return _of_timm(name, place)
    original = torchvision_name(name)
    if original is None:
        raise BadInputError(
            f"{place}: there are no published weights of {name!r}; choose {next(iter(IMAGENET))}, "
            f"{TORCHVISION}NAME or {TIMM}NAME, or start = 'random'"
        )
    return _of_torchvision(original, place)


def _of_torchvision(name: str, place: str) -> Published:
    import torchvision

    known = torchvision.models.get_model_weights(name).__members__
    if WHICH not in known:
        raise BadInputError(
            f"{place}: torchvision has published no {WHICH} weights of {name}; "
            "choose start = 'random'"
        )
    how = known[WHICH].transforms()
    # Their `transform_input` converts from the usual normalisation to this one.
    scale = (INCEPTION, INCEPTION) if name in TRANSFORM_INPUT else (how.mean, how.std)
    mean, sd = (tuple(values) for values in scale)
    (crop,) = how.crop_size
    return Published(
        known[WHICH].url, tuple(how.resize_size), crop, how.interpolation.value, mean, sd
    )


def _of_timm(name: str, place: str) -> Published:
    import timm
    from timm.data.config import resolve_data_config

    check(name, place)
    cfg = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    url = str(cfg.url) if cfg and cfg.url else ""
    if cfg is None or not _VERIFIED.search(url):
        raise BadInputError(
            f"{place}: timm has no address with a checksum for the weights of {name!r}; choose "
            "another tag or network, or start = 'random'"
        )
    how = resolve_data_config(pretrained_cfg=asdict(cfg))  # type: ignore[no-untyped-call]
    _, height, width = how["input_size"]
    odd = height != width or how["crop_mode"] not in ("center", "squash") or cfg.custom_load
    if odd or cfg.num_classes != 1000 or cfg.label_offset:
        raise BadInputError(
            f"{place}: the weights of {name!r} are not for square images cut from the middle, of "
            "ImageNet's 1,000 classes; choose another tag or network, or start = 'random'"
        )
    sides = 2 if how["crop_mode"] == "squash" else 1
    resize = (math.floor(height / how["crop_pct"]),) * sides
    return Published(url, resize, height, how["interpolation"], how["mean"], how["std"])


def weights_folder() -> Path:
    """Return torch's own folder of published weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(url: str) -> Path:
    """Return a verified file of weights from torch's own folder; download it if missing.

    Raises:
        BadInputError: there is no network, or the file is not the published one.
    """
    folder, name = weights_folder(), url.rsplit("/", 1)[-1]
    path, expected = folder / name, name.removesuffix(".pth").rsplit("-", 1)[-1]
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), expected, progress=False)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise BadInputError(
                f"{url} cannot be fetched ({reason}); put the file into {folder}"
            ) from error
        except RuntimeError as error:  # the downloaded file has another checksum
            raise BadInputError(f"{url}: {error}; try again later") from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(expected):
        raise BadInputError(
            f"{path}: not the published file: expected a SHA-256 that begins with {expected}, "
            f"found {digest[: len(expected)]}; remove it and run again"
        )
    return path


def load(model: nn.Module, name: str, output: str, path: Path) -> None:
    """Load published weights into a network, in place.

    Args:
        model: the result of `build`.
        name: of the network.
        output: the layer of the logits; if its classes differ from the file's, it keeps its own
            weights.
        path: the result of `fetch`.

    Raises:
        BadInputError: the file holds another network's weights.
    """
    own, stored = model.state_dict(), _read(name, path)
    weights = {
        _OLD_DENSENET.sub(r"\1\2.", name): values
        for name, values in stored.items()
        if name in own or not name.lower().startswith("aux")  # a second output, for training only
    }
    for name in (f"{output}.weight", f"{output}.bias"):
        if name in own and name in weights and own[name].shape != weights[name].shape:
            weights[name] = own[name]
    try:
        restore(model, weights)
    except RuntimeError as error:
        raise _others(path, error) from error


def _read(name: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, by the network's names."""
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    if not name.startswith(TIMM):
        return stored
    import timm

    # Use timm's own reader: for many networks it renames or reshapes tensors.
    given = {"state_dict": stored}
    try:
        with torch.random.fork_rng(devices=[]):
            donor = timm.create_model(
                name.removeprefix(TIMM), pretrained=True, pretrained_cfg_overlay=given
            )
    except (RuntimeError, KeyError) as error:
        raise _others(path, error) from error
    tensors: dict[str, Tensor] = donor.state_dict()
    return tensors


def _others(path: Path, error: Exception) -> BadInputError:
    first = str(error).splitlines()[0]
    return BadInputError(f"{path}: holds another network's weights ({first})")
