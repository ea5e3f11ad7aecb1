"""torchvision's published ImageNet weights, as the start of a training.

The name of each file ends in the beginning of its SHA-256: nothing else is loaded.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from ssbench.errors import BadInputError
from ssbench.models.registry import IMAGENET, TORCHVISION, torchvision_name
from ssbench.models.state_dict import restore

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
"""How DenseNet's files name what torchvision has since renamed."""
WHICH = "IMAGENET1K_V1"
"""torchvision's first weights of a network: those that the literature prunes."""


def published_url(name: str, place: str) -> str:
    """The address of a network's published weights.

    Raises:
        BadInputError: there are none for it; names ``place``.
    """
    import torchvision

    theirs = torchvision_name(name)
    if theirs is None:
        raise BadInputError(
            f"{place}: there are no published weights of {name!r}; take one of "
            f"{', '.join(IMAGENET)} or {TORCHVISION}NAME, or start = 'random'"
        )
    found = torchvision.models.get_model_weights(theirs).__members__
    if WHICH not in found:
        raise BadInputError(
            f"{place}: torchvision has published no {WHICH} weights of {theirs}; "
            "take start = 'random'"
        )
    url: str = found[WHICH].url
    return url


def weights_folder() -> Path:
    """Torch's own folder of published weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(url: str) -> Path:
    """Return a file of weights from torch's own folder of them, verified; download it if missing.

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
        except RuntimeError as error:  # what came has another checksum
            raise BadInputError(f"{url}: {error}; try again later") from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(expected):
        raise BadInputError(
            f"{path}: not the published file: expected a SHA-256 that begins with {expected}, "
            f"found {digest[: len(expected)]}; remove it, and it is fetched again"
        )
    return path


def load(model: nn.Module, output: str, path: Path) -> None:
    """Give a network published weights, in place.

    Args:
        model: as `build` made it.
        output: its layer that gives the logits; where it has other classes than the file's, its
            own weights stay.
        path: what `fetch` returned.

    Raises:
        BadInputError: the file holds another network's weights.
    """
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    own = model.state_dict()
    weights = {
        _OLD_DENSENET.sub(r"\1\2.", name): values
        for name, values in found.items()
        if name in own or not name.lower().startswith("aux")  # a second output, for training only
    }
    for name in (f"{output}.weight", f"{output}.bias"):
        if name in own and name in weights and own[name].shape != weights[name].shape:
            weights[name] = own[name]
    try:
        restore(model, weights)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise BadInputError(f"{path}: holds another network's weights ({first})") from error
