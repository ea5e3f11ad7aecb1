"""Decode images once into one array, and keep it.

The array lies below the folder of all data sets, in ``decoded``, under a name that hashes the
content of the images and how they were decoded. It is written whole or not at all, carries a
checksum, and may be removed at any time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ssbench.data.image_folder import Files
from ssbench.data.picture import Seen, decode, quiet
from ssbench.data.preprocessing import Preprocessing
from ssbench.data.survey import Found, as_text, from_text, refuse
from ssbench.errors import BadInputError

FOLDER = "decoded"
"""Folder below that of all data sets."""
VERSION = 1
"""Increased when images are decoded otherwise."""
CHUNK = 2048
"""Images between two checks of their sizes."""
ABANDONED = 3600
"""Seconds after which a half-written file belongs to no running process."""
Bytes = NDArray[np.uint8]


class MixedSizesError(Exception):
    """Images that must have one size have several."""


@dataclass(frozen=True)
class Pictures:
    """Encoded images of one split.

    Attributes:
        root: what to name in a message about several of them.
        names: of each image, for messages; a path below ``root`` if they are files.
        read: returns the bytes of an image; None: they are the files ``root / name``.
        key: a hash of their content.
    """

    root: Path
    names: Sequence[str]
    key: str
    read: Callable[[int], bytes] | None = None

    @classmethod
    def of(cls, files: Files) -> Pictures:
        """Return the images of a split of a folder."""
        return cls(files.root, files.paths, files.key)

    def content(self, number: int) -> bytes | None:
        """Return the bytes of an image; None if they are in a file."""
        return self.read(number) if self.read else None


@dataclass(frozen=True)
class Decoded:
    """Images, uint8 [N, 3, H, W], and findings about them."""

    images: Tensor
    found: Found


def decoded(pictures: Pictures, how: Preprocessing, keep: Path, *, native: bool) -> Decoded:
    """Return all images, from this or an earlier decoding.

    Args:
        pictures: at least one.
        how: the size; its mean and sd have no effect.
        keep: the folder of all data sets.
        native: do not resize, but check that all images have the size.

    Raises:
        MixedSizesError: ``native``, and an image has another size.
        BadInputError: names up to five images that cannot be read.
    """
    said = f"{VERSION}{PIL.__version__}{pictures.key}{how.facts()}{native}"
    path = keep / FOLDER / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.safetensors"
    before = _read(path, (len(pictures.names), 3, *how.shape))
    if before is not None:
        return before
    found = _decode(pictures, how, native=native)
    with suppress(OSError, SafetensorError):  # kept for speed only
        _write(path, found)
    return found


def _decode(pictures: Pictures, how: Preprocessing, *, native: bool) -> Decoded:
    made: Bytes = np.empty((len(pictures.names), *how.shape, 3), np.uint8)
    fit = _same if native else _resizing(how)
    found: Found = {}
    wrong: list[str] = []

    def one(number: int) -> Seen | str:
        try:
            image, seen = decode(pictures.root / pictures.names[number], pictures.content(number))
        except BadInputError as error:
            return str(error)
        ready = fit(image)
        if (ready.height, ready.width) != how.shape:
            raise MixedSizesError
        made[number] = np.asarray(ready)
        return seen

    with quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(made), CHUNK):
            numbers = range(start, min(start + CHUNK, len(made)))
            for number, seen in zip(numbers, pool.map(one, numbers), strict=True):
                if isinstance(seen, str):
                    wrong.append(seen)
                elif seen != Seen():
                    found[pictures.names[number]] = seen
    refuse(pictures.root, wrong)
    return Decoded(torch.from_numpy(made).permute(0, 3, 1, 2).contiguous(), found)


def _same(image: Image.Image) -> Image.Image:
    return image


def _resizing(how: Preprocessing) -> Callable[[Image.Image], Image.Image]:
    """Return the transformation that evaluation applies to images on disk."""
    from torchvision.transforms import v2

    resize = list(how.resize)
    middle = v2.Compose(
        [v2.Resize(resize, v2.InterpolationMode(how.interpolation)), v2.CenterCrop(how.shape)]
    )
    height, width = how.shape

    def fit(image: Image.Image) -> Image.Image:
        if image.size == (width, height) and resize in ([min(how.shape)], [height, width]):
            return image
        made: Image.Image = middle(image)
        return made

    return fit


def _read(path: Path, shape: tuple[int, ...]) -> Decoded | None:
    """Read kept images; None if there are none, or they are damaged."""
    try:
        with safe_open(path, "pt") as file:
            images: Tensor = file.get_tensor("images")
            said = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    found = from_text(said.get("found", ""))
    whole = tuple(images.shape) == shape and images.dtype == torch.uint8
    if found is None or not whole or _checksum(images) != said.get("sha256"):
        return None
    return Decoded(images, found)


def _write(path: Path, made: Decoded) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob("part-*"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            left.unlink(missing_ok=True)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    said = {"found": as_text(made.found), "sha256": _checksum(made.images)}
    try:
        save_file({"images": made.images}, part, said)
        part.chmod(0o644)  # others may share the folder
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _checksum(images: Tensor) -> str:
    return hashlib.sha256(images.numpy().data).hexdigest()
