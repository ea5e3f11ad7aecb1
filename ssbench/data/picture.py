"""Decode one image file to RGB with 8 bits, and refuse unusable ones.

- Grey of 16 bits is scaled from 0..65535 to 0..255; in grey of floats, white is 1.
- Transparent parts show a white background, as in a browser.
- The EXIF rotation is applied; of several frames or pages only the first one counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssbench.errors import BadInputError

Rule = Literal["grey", "transparent", "turned"]
BACKGROUND = "white"
ORIENTATION = 0x0112
"""The EXIF tag."""
NARROW = 1000
"""Ratio of the sides: more would take gigabytes when the shorter side is resized to 256 pixels."""
_FLIPS = Image.Transpose
_TURNS = {
    2: _FLIPS.FLIP_LEFT_RIGHT,
    3: _FLIPS.ROTATE_180,
    4: _FLIPS.FLIP_TOP_BOTTOM,
    5: _FLIPS.TRANSPOSE,
    6: _FLIPS.ROTATE_270,
    7: _FLIPS.TRANSVERSE,
    8: _FLIPS.ROTATE_90,
}
"""The transformation that makes each orientation upright (EXIF 2.32, section 4.6.4)."""
_SWAPS = (_FLIPS.TRANSPOSE, _FLIPS.ROTATE_270, _FLIPS.TRANSVERSE, _FLIPS.ROTATE_90)
"""The transformations that exchange height and width."""
_WHITE = {"I": 65535, "F": 1}
"""The value of white. Pillow opens PNG and PGM of 16 bits as I or as I;16."""
_ANIMATED = ("GIF", "TIFF", "WEBP", "PNG")
"""Formats whose further frames are pictures; those of a JPEG are previews and depth maps."""


@dataclass(frozen=True)
class Seen:
    """Findings about a file.

    Attributes:
        rules: those that change pixels, compared with a plain conversion to RGB.
        frames: whether it has more than one frame.
    """

    rules: tuple[Rule, ...] = ()
    frames: bool = False


def read_image(path: Path, *, plain: bool = False) -> Image.Image:
    """Decode an image to RGB.

    Args:
        path: the file.
        plain: only convert, as torchvision does, without this module's rules.

    Raises:
        BadInputError: names the file that cannot be read.
    """
    with quiet(), _opened(path) as image:
        return image.convert("RGB") if plain else _decoded(image)[0]


def decode(path: Path, content: bytes | None = None) -> tuple[Image.Image, Seen]:
    """Decode an image to RGB, and return what was found.

    Threads may call it side by side; their caller keeps Pillow `quiet`.

    Args:
        path: the file, or a name for messages.
        content: the bytes, if they are not in a file.

    Raises:
        BadInputError: names the file that cannot be read.
    """
    with _opened(path, content) as image:
        frames = _has_frames(image)
        made, rules = _decoded(image)
        return made, Seen(rules, frames)


def examine(path: Path, *, decode: bool) -> Seen:
    """Find the rules that an image needs; without ``decode`` mostly from its header.

    Threads may call it side by side; their caller keeps Pillow `quiet`.

    Raises:
        BadInputError: names the file that cannot be read.
    """
    with _opened(path) as image:
        frames = _has_frames(image)
        if decode or image.has_transparency_data:
            return Seen(_decoded(image)[1], frames)
        _refuse(image)
        grey: tuple[Rule, ...] = ("grey",) if _is_deep(image) else ()
        turned: tuple[Rule, ...] = ("turned",) if _turn(image) is not None else ()
        return Seen((*grey, *turned), frames)


def upright_size(path: Path, content: bytes | None = None) -> tuple[int, int]:
    """Return height and width of an image after its EXIF rotation, from its header.

    Raises:
        BadInputError: names the file that cannot be read.
    """
    with _opened(path, content) as image:
        width, height = image.size
        lying = image.format != "TIFF" and _turn(image) in _SWAPS
        return (width, height) if lying else (height, width)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow: its warnings (large, corrupt EXIF) name no file.

    Only one thread of a process may enter it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shown(path: Path) -> str:
    """Return a path on one line, whatever characters it has."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open a file, or bytes, and name it in every error of the body."""
    try:
        if content is None and not path.is_file():  # reading a pipe would block
            raise OSError(_absence(path))
        with Image.open(path if content is None else BytesIO(content)) as image:
            yield image
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise BadInputError(f"{shown(path)}: too large ({error}); shrink or remove it") from error
    except UnidentifiedImageError as error:
        size = path.stat().st_size if content is None else len(content)
        what = "in a known format" if size else "but an empty file"
        raise BadInputError(f"{shown(path)}: no image {what}; replace or remove it") from error
    except Exception as error:  # damaged bytes lead decoders to any of a dozen errors
        raise BadInputError(
            f"{shown(path)}: no image that can be read ({error}); replace or remove it"
        ) from error


def _has_frames(image: Image.Image) -> bool:
    return image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1


def _absence(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {shown(path.readlink())}, which does not exist"
    return "no regular file" if path.exists() else "missing"


def _decoded(image: Image.Image) -> tuple[Image.Image, tuple[Rule, ...]]:
    """Return the first frame as RGB, and the rules it needed."""
    rules: list[Rule] = []
    _refuse(image)
    image.load()
    turn = _turn(image)
    if _is_deep(image):
        image = _eight_bits(image)
        rules.append("grey")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        lowest, _ = layers.getchannel("A").getextrema()
        if lowest != 255:
            image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), layers)
            rules.append("transparent")
    image = image.convert("RGB")
    if turn is not None:
        image = image.transpose(turn)
        rules.append("turned")
    return image, tuple(rules)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes the image upright; Pillow turns a TIFF itself when loading it."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # the EXIF block is damaged; the image may be fine
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _is_deep(image: Image.Image) -> bool:
    return image.mode in _WHITE or image.mode.startswith("I;16")


def _refuse(image: Image.Image) -> None:
    """Refuse images without defined colours, and too narrow ones.

    Raises:
        ValueError: says why.
    """
    if max(image.size) > NARROW * min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels are too narrow")
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise ValueError("grey of 32 bits or with a sign has no defined white: save it as 16 bits")
    if image.format in ("EPS", "WMF"):
        raise ValueError(f"{image.format} draws and has no pixels: save it as PNG")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep grey to 8 bits (PNG specification, third edition, section 12.4).

    Raises:
        ValueError: a value is below black or above white.
    """
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= _WHITE["F"]):
            raise ValueError(
                f"grey of floats is from 0 to 1, but here from {values.min():g} to "
                f"{values.max():g}: scale it"
            )
        return Image.fromarray(np.rint(values * np.float64(255)).astype(np.uint8))
    white = _white(image)
    if not (values.min() >= 0 and values.max() <= white):
        raise ValueError(f"grey is from 0 to {white}, but here up to {values.max()}")
    scaled = (values.astype(np.uint64) * 255 + white // 2) // white
    grey = Image.fromarray(scaled.astype(np.uint8))
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def _white(image: Image.Image) -> int:
    """Return the value of white: a TIFF may use 12 of 16 bits."""
    bits = getattr(image, "tag_v2", {}).get(258, (16,)) if image.format == "TIFF" else (16,)
    return 4095 if tuple(bits) == (12,) else _WHITE["I"]
