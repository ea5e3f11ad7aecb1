"""Published ImageNet weights of torchvision and timm, to start trainings from.

An address ends with digits of the file's SHA-256; other files are refused.
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
from ssbench.models import from_timm, weights
from ssbench.models.architecture import Architecture, named
from ssbench.models.from_timm import TIMM
from ssbench.models.registry import IMAGENET, TORCHVISION, check, torchvision_name

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
"""Old names in DenseNet's files, which torchvision has since changed."""
WHICH = "IMAGENET1K_V1"
"""torchvision's first weights of a network, which the literature prunes."""
TRANSFORM_INPUT = ("googlenet", "inception_v3")
"""torchvision's networks that rescale their images with these weights."""
INCEPTION = (0.5, 0.5, 0.5)
"""Mean and standard deviation in the training of those weights."""
HUB_FILE = "model.safetensors"
_VERIFIED = re.compile(r"-[0-9a-f]{8,}\.pth$")


@dataclass(frozen=True)
class Published:
    """Weights of a network, and the preprocessing of their authors' evaluation.

    Attributes:
        url: their address; ends with digits of their SHA-256.
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


def evaluated_as(name: str, place: str) -> Published | None:
    """Return the preprocessing of the weights that a tag of timm's names, without their address.

    Raises:
        BadInputError: they are not for square images of ImageNet's classes; names ``place``.
    """
    tagged = name.startswith(TIMM) and "." in name
    return _of_timm(name, place, "-") if tagged else None


def _of_timm(name: str, place: str, url: str = "") -> Published:
    """Return timm's weights; ``url``: the address, if the caller has the file."""
    import timm
    from timm.data.config import resolve_data_config

    check(name, place)
    cfg = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    url = url or (str(cfg.url) if cfg and cfg.url else "")
    known = url == "-" or _VERIFIED.search(url)
    if cfg is None or not (known or cfg.hf_hub_id):
        raise BadInputError(
            f"{place}: timm has no address with a checksum for the weights of {name!r}; choose "
            "another tag or network, weights = 'PATH', or start = 'random'"
        )
    how = resolve_data_config(pretrained_cfg=asdict(cfg))  # type: ignore[no-untyped-call]
    _, height, width = how["input_size"]
    odd = height != width or how["crop_mode"] not in ("center", "squash")
    odd = odd or bool(cfg.custom_load and _VERIFIED.search(url))
    if odd or cfg.num_classes != 1000 or cfg.label_offset:
        raise BadInputError(
            f"{place}: the weights of {name!r} are not for square images cut from the middle, of "
            "ImageNet's 1,000 classes; choose another tag or network, or start = 'random'"
        )
    sides = 2 if how["crop_mode"] == "squash" else 1
    resize = (math.floor(height / how["crop_pct"]),) * sides
    if not known:
        url = of_hub(str(cfg.hf_hub_id), cfg.hf_hub_filename or HUB_FILE, place)
    return Published(url, resize, height, how["interpolation"], how["mean"], how["std"])


def of_hub(repository: str, name: str, place: str) -> str:
    """Return the address of timm's weights on its hub; looks in timm's own cache first.

    Raises:
        BadInputError: the file is not in the cache and cannot be fetched; names ``place``.
    """
    import huggingface_hub

    try:
        path = huggingface_hub.try_to_load_from_cache(repository, name)
        if not isinstance(path, str):
            path = huggingface_hub.hf_hub_download(repository, name)
    except Exception as error:  # the client of the hub raises many kinds
        reason = str(error).strip().splitlines()[0][:200]
        raise BadInputError(
            f"{place}: timm's weights {repository}/{name} are not in its cache "
            f"({huggingface_hub.constants.HF_HUB_CACHE}) and cannot be fetched ({reason}); give a "
            "file with weights = 'PATH', or fetch them where there is a network"
        ) from error
    return weights.hub_address(repository, Path(path), place)


def weights_folder() -> Path:
    """Return torch's own folder of published weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(url: str) -> Path:
    """Return a verified file of weights: a user's, timm's, or from torch's own folder.

    Downloads published ones that are missing.

    Raises:
        BadInputError: there is no network, the file is not the published one, or it has changed.
    """
    if weights.has_digest(url):
        return weights.found(url, weights_folder())
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


def load(
    model: nn.Module,
    network: str | Architecture,
    output: str,
    path: Path,
    size: tuple[int, int] | None = None,
) -> bool:
    """Load weights into a network, in place.

    Args:
        model: the built network.
        network: its name, or its architecture.
        output: the layer of the logits; if its classes differ from the file's, it keeps its own
            weights.
        path: the result of `fetch`.
        size: height and width of the images.

    Returns:
        Whether the output layer keeps its own weights.

    Raises:
        BadInputError: the file holds another network's weights.
    """
    own, stored = model.state_dict(), weights.read(path)
    architecture = named(network)
    if architecture.name.startswith(TIMM) and not architecture.code:
        if not weights.fits(stored, own, output, str(path)):
            stored = _by_timm(architecture, stored, size)
    else:
        stored = {
            _OLD_DENSENET.sub(r"\1\2.", name): values
            for name, values in stored.items()
            # torchvision's second outputs are for training only
            if name in own or not name.lower().startswith("aux")
        }
    return weights.fit(model, stored, output, str(path))


def _by_timm(
    architecture: Architecture, stored: dict[str, Tensor], size: tuple[int, int] | None
) -> dict[str, Tensor]:
    """Return tensors by the network's names, as timm itself renames and reshapes them."""
    name = architecture.name.removeprefix(TIMM)
    given = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": stored}}
    try:
        with torch.random.fork_rng(devices=[]):
            donor = from_timm.build(name, 3, 1000, size, architecture.arguments | given)
    except (RuntimeError, KeyError):  # another network's weights: the caller lists their names
        return stored
    tensors: dict[str, Tensor] = donor.state_dict()
    return tensors
