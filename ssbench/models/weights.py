"""Files of weights that a user gives: find, read and fit them into a network.

>>> where = address(Path("best.pth"), "models.0.weights")    # file:///…/best.pth#sha256=…
>>> fit(model, read(Path("best.pth")), "fc", "best.pth")

Files are safetensors, or torch's format read with ``weights_only=True``: nothing else is unpickled.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ssbench.errors import BadInputError, first_line
from ssbench.models.state_dict import restore

_SCHEME, _HUB, _DIGEST = "file://", "hub://", "#sha256="
INSIDE = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which checkpoints keep the weights, beside an optimiser or an epoch."""
PREFIXES = ("module.", "model.", "_orig_mod.")
"""What wrappers put before names: DataParallel, Lightning, torch.compile."""
SHOWN = 5
"""Names of one kind in an error."""
DIGITS = 12
"""Digits of a SHA-256 that records show."""


def address(path: Path, place: str) -> str:
    """Return the address of a file, which names its content.

    Raises:
        BadInputError: it cannot be read; names ``place``.
    """
    return f"{_SCHEME}{quote(str(path.absolute()))}{_DIGEST}{_digest(path, place)}"


def hub_address(repository: str, path: Path, place: str) -> str:
    """Return the address of a file of published weights in the cache of a hub.

    Raises:
        BadInputError: it cannot be read; names ``place``.
    """
    where = quote(str(path.absolute()))
    return f"{_HUB}{repository}{_SCHEME}{where}{_DIGEST}{_digest(path, place)}"


def _digest(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(
            f"{place}: {path} cannot be read ({error.strerror}); give a file of weights "
            "(.safetensors, .pth, .pt)"
        ) from error


def is_given(where: str) -> bool:
    """Whether an address is that of a user's file."""
    return where.startswith(_SCHEME)


def has_digest(where: str) -> bool:
    """Whether an address names a file on this machine, with its whole SHA-256."""
    return _DIGEST in where


def path_of(where: str) -> tuple[Path, str]:
    """Return the path and the SHA-256 in an address that has both."""
    path, _, digest = where.partition(_SCHEME)[2].partition(_DIGEST)
    return Path(unquote(path)), digest


def identity(where: str) -> str:
    """Return what of an address can change a result: the content, wherever the file lies."""
    return where.rpartition("#")[2] if has_digest(where) else where.rsplit("/", 1)[-1]


def said(where: str) -> str:
    """Return what a record says about the first weights of a run."""
    if not has_digest(where):
        return where.rsplit("/", 1)[-1] or "random"
    path, digest = path_of(where)
    source = where.partition(_SCHEME)[0].removeprefix(_HUB)
    return f"{source or f'weights given: {path.name}'} (SHA-256 {digest[:DIGITS]})"


def sent_name(where: str) -> str:
    """Return the name under which the file of an address is kept on other machines."""
    if not has_digest(where):
        return where.rsplit("/", 1)[-1]
    path, digest = path_of(where)
    return f"ssbench-{digest}{path.suffix}"


def found(where: str, kept: Path) -> Path:
    """Return a user's file, or its copy in a folder.

    Raises:
        BadInputError: neither exists, or the content has changed.
    """
    path, digest = path_of(where)
    for place in (kept / sent_name(where), path):
        if place.is_file():
            if _digest(place, "weights") != digest:
                raise BadInputError(
                    f"{place}: has changed since the experiment was planned; run it again"
                )
            return place
    raise BadInputError(f"{path}: is gone; put the file of weights back")


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name.

    Raises:
        BadInputError: it is neither of the two formats, or holds other things than tensors.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise BadInputError(f"{path}: not a file of safetensors ({error})") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises any kind on bytes that are not its own
        reason = first_line(error)[:200]
        raise BadInputError(
            f"{path}: not a file of tensors alone ({reason}); save the weights with "
            "torch.save(model.state_dict(), PATH), or as safetensors"
        ) from error
    for _ in range(2):
        inner = [key for key in INSIDE if isinstance(content, dict) and key in content]
        if inner and not isinstance(content[inner[0]], Tensor):
            content = content[inner[0]]
    if not isinstance(content, Mapping) or not content:
        what = type(content).__name__ if content else "nothing"
        raise BadInputError(
            f"{path}: holds {what} instead of tensors by name, or these under "
            f"{' or '.join(map(repr, INSIDE[:2]))}; save model.state_dict()"
        )
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise BadInputError(
            f"{path}: {', '.join(odd[:SHOWN])} {'is' if len(odd) == 1 else 'are'} no tensor; save "
            "model.state_dict() alone, or under 'state_dict'"
        )
    return {str(name): value for name, value in content.items()}


def fit(model: nn.Module, stored: Mapping[str, Tensor], output: str, where: str) -> bool:
    """Load tensors into a network, in place.

    Args:
        model: the network.
        stored: by name; the prefixes of wrappers are removed.
        output: the layer of the logits: if its classes differ from the file's, it keeps its own
            weights.
        where: the file, for errors.

    Returns:
        Whether the output layer keeps its own weights.

    Raises:
        BadInputError: lists the names that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    weights, other = _completed(stored, own, output, where)
    wrong = mismatch(weights, own)
    if wrong:
        raise BadInputError(f"{where}: holds another network's weights: {wrong}")
    bad = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if bad:
        raise BadInputError(f"{where}: {bad[0]} has values that are not finite")
    restore(model, weights)
    return other


def fits(stored: Mapping[str, Tensor], own: Mapping[str, Tensor], output: str, where: str) -> bool:
    """Whether `fit` would accept the names and shapes of these tensors."""
    return not mismatch(_completed(stored, own, output, where)[0], own)


def _completed(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor], output: str, where: str
) -> tuple[dict[str, Tensor], bool]:
    """Return tensors by the network's names; the network's own ones for other classes."""
    weights = unwrapped(stored, own, where)
    last = [name for name in (f"{output}.weight", f"{output}.bias") if name in own]
    other = _other_classes(weights, own, output)
    weights |= {name: own[name] for name in last if other}
    # Files that are older than this counter lack it, and nothing here reads it.
    weights |= {n: own[n] for n in own if n.endswith("num_batches_tracked") and n not in weights}
    return weights, other


def _other_classes(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], output: str) -> bool:
    """Whether only the number of classes differs in the output layer."""
    name = f"{output}.weight"
    if name not in weights or name not in own:
        return False
    theirs, mine = weights[name].shape, own[name].shape
    return theirs[1:] == mine[1:] and theirs[:1] != mine[:1]


def unwrapped(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Return tensors by the network's names, without the prefixes of wrappers.

    Raises:
        BadInputError: two names become one.
    """
    result: dict[str, Tensor] = {}
    for name, value in stored.items():
        plain = _plain(name, own)
        if plain in result:
            raise BadInputError(f"{where}: holds {plain} twice, with and without a prefix")
        result[plain] = value
    return result


def _plain(name: str, own: Mapping[str, Tensor]) -> str:
    short = name.replace("._orig_mod.", ".")
    while short not in own and short.startswith(PREFIXES):
        short = short.split(".", 1)[1]
    return short


def mismatch(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Say which names are missing, unexpected or of another shape; empty if all fit."""
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    shaped = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    near = [_with_nearest(name, own, weights, unexpected) for name in missing[:SHOWN]]
    parts = [
        _listed("missing", near, len(missing)),
        _listed("unexpected", unexpected, len(unexpected)),
        _listed("of another shape", shaped, len(shaped)),
    ]
    return "; ".join(part for part in parts if part)


def _with_nearest(
    name: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor], unexpected: Sequence[str]
) -> str:
    """Add the unexpected name that is probably meant: of the same shape, and most alike."""
    same = [other for other in unexpected if weights[other].shape == own[name].shape]
    close = difflib.get_close_matches(name, same, n=1, cutoff=0.5)
    return f"{name} (the file has {close[0]})" if close else name


def _listed(what: str, names: Sequence[str], count: int) -> str:
    if not count:
        return ""
    more = ", …" if count > SHOWN else ""
    return f"{count} {what}: {', '.join(names[:SHOWN])}{more}"
