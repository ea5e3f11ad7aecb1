"""Image files of every kind: decoded as it is written down, or refused by name before training."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ssbench.data.picture import Seen, examine, read_image
from ssbench.errors import BadInputError
from tests.support.pictures import bomb, exif

RANDOM = np.random.RandomState(0)
COLOURS = RANDOM.randint(0, 256, (20, 30, 3)).astype(np.uint8)
PHOTOGRAPH = Image.fromarray(COLOURS)
DEEP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
SCALED = np.floor(DEEP.astype(np.float64) * 255 / 65535 + 0.5).astype(np.uint8)
"""As the PNG specification asks for (third edition, section 12.4)."""


def pixels(path: Path, *, plain: bool = False) -> NDArray[Any]:
    image = read_image(path, plain=plain)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(values: NDArray[Any]) -> NDArray[Any]:
    return np.stack([values] * 3, -1)


def rules(path: Path) -> tuple[str, ...]:
    by_header, decoded = examine(path, decode=False), examine(path, decode=True)
    assert by_header == decoded
    return decoded.rules


PLAIN: dict[str, Callable[[Path], None]] = {
    "rgb.jpg": lambda path: PHOTOGRAPH.save(path, quality=90),
    "rgb.JPG": lambda path: PHOTOGRAPH.save(path, "JPEG"),
    "rgb.png": lambda path: PHOTOGRAPH.save(path),
    "rgb.webp": lambda path: PHOTOGRAPH.save(path),
    "rgb.bmp": lambda path: PHOTOGRAPH.save(path),
    "rgb.ppm": lambda path: PHOTOGRAPH.save(path),
    "rgb.tif": lambda path: PHOTOGRAPH.save(path, compression="tiff_lzw"),
    "grey.jpg": lambda path: PHOTOGRAPH.convert("L").save(path),
    "cmyk.jpg": lambda path: PHOTOGRAPH.convert("CMYK").save(path),
    "cmyk.tiff": lambda path: PHOTOGRAPH.convert("CMYK").save(path),
    "palette.png": lambda path: PHOTOGRAPH.quantize(16).save(path),
    "palette.gif": lambda path: PHOTOGRAPH.quantize(16).save(path),
    "one_bit.png": lambda path: PHOTOGRAPH.convert("1").save(path),
    "one_bit.tif": lambda path: PHOTOGRAPH.convert("1").save(path),
    "opaque.png": lambda path: PHOTOGRAPH.convert("RGBA").save(path),
    "opaque_grey.png": lambda path: PHOTOGRAPH.convert("LA").save(path),
    "upright.jpg": lambda path: PHOTOGRAPH.save(path, exif=exif(1)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_a_conversion_to_rgb_shows_rightly_stays_bit_for_bit(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    PLAIN[name](path)
    with Image.open(path) as image:
        before = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(path), before)
    assert np.array_equal(pixels(path, plain=True), before)
    assert rules(path) == ()


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(DEEP).save(path)
    assert np.array_equal(pixels(path), grey(SCALED))
    assert rules(path) == ("grey",)
    assert (pixels(path, plain=True) == 255).mean() > 0.99  # what a conversion makes of it


def test_grey_of_16_bits_in_the_other_byte_order_and_of_12_bits(tmp_path: Path) -> None:
    swapped = tmp_path / "swapped.tif"
    Image.frombytes("I;16B", (256, 256), DEEP.astype(">u2").tobytes()).save(swapped)
    assert np.array_equal(pixels(swapped), grey(SCALED))
    path = tmp_path / "twelve.pgm"
    path.write_bytes(b"P5\n64 64\n4095\n" + np.arange(4096, dtype=">u2").tobytes())
    expected = np.arange(4096).reshape(64, 64) * 255 / 4095
    assert np.abs(pixels(path) - grey(expected)).max() <= 0.5 + 1 / 257
    assert rules(path) == ("grey",)


def test_a_tiff_of_12_bits_has_its_white_at_4095(tmp_path: Path) -> None:
    packed = np.array([[0xFFF, 0x000, 0x800, 0x7FF]], dtype=np.int64)
    high, low = packed[0, ::2], packed[0, 1::2]
    body = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], 1).astype(np.uint8)
    path = tmp_path / "twelve.tif"
    path.write_bytes(tiff(body.tobytes(), width=4, height=1, bits=12))
    assert pixels(path)[0, :, 0].tolist() == [255, 0, 128, 127]


def tiff(body: bytes, width: int, height: int, bits: int) -> bytes:
    """A grey TIFF, as Pillow does not write it."""
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8),
               (277, 1), (278, height), (279, len(body))]  # fmt: skip
    head = b"II*\0" + (8 + len(body)).to_bytes(4, "little")
    listed = b"".join(
        tag.to_bytes(2, "little")
        + b"\4\0"
        + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, value in entries
    )
    return head + body + len(entries).to_bytes(2, "little") + listed + bytes(4)


def test_grey_of_floats_has_its_white_at_1(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    Image.fromarray((DEEP / 65535).astype(np.float32)).save(path)
    assert np.abs(pixels(path).astype(int) - grey(SCALED)).max() <= 1
    assert rules(path) == ("grey",)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (DEEP.astype(np.int32), "no defined white: save it as 16 bits"),
        (DEEP.astype(np.float32), "from 0 to 1, but here from 0 to 65535"),
        (np.full((4, 4), np.nan, np.float32), "here from nan"),
        (np.full((4, 4), -0.5, np.float32), "here from -0.5"),
    ],
)
def test_grey_without_a_defined_white_is_refused(
    values: NDArray[Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(BadInputError, match=says) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


HALF = np.full((20, 30), 255, np.uint8)
HALF[:, :10], HALF[:, 10:20] = 0, 128


def composed(under: NDArray[Any]) -> NDArray[Any]:
    alpha = HALF[:, :, None] / 255
    found: NDArray[Any] = under * alpha + 255 * (1 - alpha)
    return found


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_what_is_transparent_shows_white_and_not_its_hidden_colour(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{suffix}"
    image = PHOTOGRAPH.copy()
    image.putalpha(Image.fromarray(HALF))
    image.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    assert np.abs(pixels(path) - composed(COLOURS)).max() <= 1
    assert (pixels(path)[:, :10] == 255).all()
    assert rules(path) == ("transparent",)


def test_transparent_grey_palettes_and_single_colours_show_white(tmp_path: Path) -> None:
    path = tmp_path / "la.png"
    image = PHOTOGRAPH.convert("L")
    image.putalpha(Image.fromarray(HALF))
    image.save(path)
    expected = composed(grey(np.asarray(PHOTOGRAPH.convert("L"))))
    assert np.abs(pixels(path) - expected).max() <= 1
    assert rules(path) == ("transparent",)
    black = Image.fromarray(np.where(HALF == 0, 0, 90).astype(np.uint8))
    for name, each, hidden in (
        ("l.png", black, 0),
        ("rgb.png", black.convert("RGB"), (0, 0, 0)),
        ("p.png", black.quantize(2), black.quantize(2).getpixel((0, 0))),
        ("p.gif", black.quantize(2), black.quantize(2).getpixel((0, 0))),
        ("deep.png", Image.fromarray(np.asarray(black).astype(np.uint16) * 257), 0),
    ):
        each.save(tmp_path / name, transparency=hidden)
        shown = pixels(tmp_path / name)
        assert (shown[:, :10] == 255).all()
        assert (np.abs(shown[:, 10:].astype(int) - 90) <= 1).all()
        assert "transparent" in examine(tmp_path / name, decode=False).rules


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_rotated_as_their_exif_says(
    suffix: str, orientation: int, tmp_path: Path
) -> None:
    soft = PHOTOGRAPH.resize((3, 2)).resize((48, 32))
    lossless = {"lossless": True} if suffix == "webp" else {}
    soft.save(tmp_path / f"up.{suffix}", **lossless)
    upright = pixels(tmp_path / f"up.{suffix}")
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, 3),
    }[orientation]  # fmt: skip
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif(orientation), **lossless)
    tolerance = 25 if suffix == "jpg" else 0  # compressed twice, in other blocks
    shown = pixels(path)
    assert shown.shape == upright.shape
    assert np.abs(shown.astype(int) - upright).max() <= tolerance
    if suffix != "tif":  # Pillow turns those by itself
        assert rules(path) == (() if orientation == 1 else ("turned",))


def test_a_rotated_deep_and_transparent_image_gets_every_rule(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    values = np.zeros((4, 6), np.uint16)
    values[0, 0] = 65535
    Image.fromarray(values).save(path, exif=exif(6), transparency=0)
    assert rules(path) == ("grey", "transparent", "turned")
    assert pixels(path).shape == (6, 4, 3)


def test_a_damaged_exif_block_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    for block in (b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0nonsense", b"Exif\0\0"):
        PHOTOGRAPH.save(path, exif=block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                before = np.asarray(image.convert("RGB"))
        assert np.array_equal(pixels(path), before)  # and no warning, which would be an error here


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_several_frames_the_first_one_counts(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 0, 200)))
    lossless = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=[second], **lossless)
    assert (pixels(path) == (200, 0, 0)).all()
    assert examine(path, decode=False) == examine(path, decode=True) == Seen((), frames=True)


def whole(path: Path) -> bytes:
    PHOTOGRAPH.resize((300, 300)).save(path, quality=90)
    return path.read_bytes()


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "an empty file; replace or remove"),
    "text": (lambda path: path.write_text("not an image"), "no image in a known format"),
    "truncated": (lambda path: path.write_bytes(whole(path)[:2000]), "truncated"),
    "no pixels": (lambda path: path.write_bytes(bomb(30, 30)), "no image that can be read"),
    "400 megapixels": (lambda path: path.write_bytes(bomb(20000, 20000)), "too large.*shrink"),
    "narrow": (lambda path: Image.new("RGB", (2, 3000)).save(path), "2 x 3000 pixels are too narr"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "a link to nowhere, which does not"),
    "circle": (lambda path: path.symlink_to(path.name), "a link to x.jpg, which does not exist"),
    "folder": (lambda path: path.mkdir(), "no regular file"),
    "pipe": (os.mkfifo, "no regular file"),
    "missing": (str, "missing"),
    "drawing": (lambda path: PHOTOGRAPH.save(path, "EPS"), "EPS draws and has no pixels"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_no_image_is_named_with_a_remedy(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    make, says = HARMS[harm]
    make(path)
    for read in (read_image, lambda path: examine(path, decode=True)):
        with pytest.raises(BadInputError, match=says) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_damaged_bytes_never_end_otherwise_than_by_name(tmp_path: Path) -> None:
    """Decoders raise any of a dozen errors; whatever they read must be an image or be refused."""
    random = np.random.RandomState(3)
    small = PHOTOGRAPH.resize((24, 16))
    for suffix in ("jpg", "png", "gif", "tif", "webp", "bmp", "ppm"):
        path = tmp_path / f"x.{suffix}"
        small.save(path, **({"exif": exif(6)} if suffix in ("jpg", "png", "webp") else {}))
        content = path.read_bytes()
        for _ in range(60):
            harmed = bytearray(content)
            for place in random.randint(0, len(content), random.randint(1, 6)):
                harmed[place] = random.randint(0, 256)
            path.write_bytes(harmed[: random.randint(1, len(content) + 1)])
            try:
                assert read_image(path).mode == "RGB"
            except BadInputError as error:
                assert str(path) in str(error)  # noqa: PT017


def test_names_with_line_ends_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines é 画\udcff.png"
    path.write_bytes(b"")
    with pytest.raises(BadInputError) as caught:
        read_image(path)
    assert "two\\nlines é 画\\udcff.png" in str(caught.value)
    str(caught.value).encode()
    PHOTOGRAPH.save(tmp_path / "two\nlines.png")
    assert np.array_equal(pixels(tmp_path / "two\nlines.png"), COLOURS)
