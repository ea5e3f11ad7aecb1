"""Folders of small images, and files that are hard to read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from ssbench.data.dataset import DataSet
from ssbench.data.download import data_root
from ssbench.data.image_folder import Files
from ssbench.data.registry import open_dataset


def make_pictures(root: Path, classes: int = 3, count: int = 12) -> Path:
    random = np.random.RandomState(0)
    for part, number in (("train", count), ("val", count // 2)):
        for label in range(classes):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(number):
                size = (random.randint(230, 330), random.randint(230, 330))
                pixels = random.randint(0, 90, (size[1], size[0], 3)) + 80 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.jpg", quality=90)
    return root


def opened(root: Path) -> tuple[DataSet, Files]:
    dataset = open_dataset(f"imagefolder:{root}", data_root(None))
    assert isinstance(dataset.train, Files)
    return dataset, dataset.train


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def bomb(width: int, height: int) -> bytes:
    """A PNG that says how large it is and has no pixels: its header is all that is read."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        code = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + code

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
