"""A data set of Hugging Face's library ``datasets``, saved to disk: ``hf:PATH``.

``datasets.load_dataset(NAME).save_to_disk(PATH)`` writes such a folder. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssbench.data.dataset import DataSet
from ssbench.data.image_folder import read_file
from ssbench.data.own.arrays import in_splits, positions
from ssbench.data.own.assemble import asked_size, assemble, sized
from ssbench.data.own.decoded import FOLDER, MixedSizesError, Pictures, decoded
from ssbench.data.own.folder import FITS, SMALL
from ssbench.data.own.settings import Request
from ssbench.data.own.sizes import spread
from ssbench.data.picture import quiet, shown, upright_size
from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.errors import BadInputError, nearest
from ssbench.paths import install

SPLITS = {"train": ("train",), "val": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""The names that data sets give to each split."""
MARKS = ("dataset_dict.json", "state.json")
"""The files that such a folder has."""


@dataclass(frozen=True)
class Rows:
    """One split as it is stored: encoded images and labels, and the classes' names if known."""

    pictures: Pictures
    labels: NDArray[Any]
    names: Sequence[str] | None


def saved(request: Request) -> DataSet:
    """Read a saved data set.

    Raises:
        BadInputError: the library is missing, the folder is no saved data set, a column cannot be
            told, or an image cannot be read.
    """
    if request.settings.memory is False:
        raise BadInputError(
            f"{request.key('memory')}: saved data sets are always in memory; remove the key, or "
            "save the images as a folder"
        )
    found, notes = _splits(_loaded(request), request)
    rows = {split: _rows(split, data, request) for split, data in found.items()}
    images, facts = _images({split: each.pictures for split, each in rows.items()}, request)
    labels, classes = positions({split: each.labels for split, each in rows.items()}, request.place)
    if names := rows["train"].names:
        classes = [names[int(label)] for label in classes]
    whole = {split: (images[split].numpy(), labels[split]) for split in rows}
    parts = in_splits(whole, classes, request, {"source": "hf", **facts}, notes)
    return assemble(request, replace(parts, places=(request.path, request.keep / FOLDER)))


def _loaded(request: Request) -> Any:
    path = request.path
    if not any((path / mark).is_file() for mark in MARKS):
        raise BadInputError(
            f"{request.place}: {shown(path)} is no data set that save_to_disk of Hugging Face's "
            f"datasets wrote (it has neither {' nor '.join(MARKS)})"
        )
    try:
        import datasets
    except ImportError as error:
        raise BadInputError(
            f"{request.place}: {request.name} needs Hugging Face's library datasets; "
            f"{install('datasets')}"
        ) from error
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # damaged files lead pyarrow to many kinds
        text = " ".join(str(error).split())
        raise BadInputError(
            f"{request.place}: {shown(path)} cannot be read ({text}); save it again"
        ) from error


def _splits(loaded: Any, request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the stored splits by our name, and a remark about unused ones."""
    if not isinstance(loaded, Mapping):
        return {"train": loaded}, ()
    found: dict[str, Any] = {}
    for split, names in SPLITS.items():
        there = [name for name in names if name in loaded]
        if len(there) > 1:
            raise BadInputError(f"{request.place}: has both {' and '.join(there)}; keep one")
        if there:
            found[split] = loaded[there[0]]
    if "train" not in found:
        listed = ", ".join(map(repr, loaded))
        raise BadInputError(f"{request.place}: has no split 'train', but {listed}; rename one")
    used = {name for names in SPLITS.values() for name in names}
    unused = [name for name in loaded if name not in used]
    note = f"{request.place}: does not use the splits {', '.join(map(repr, unused))}"
    return found, ((note,) if unused else ())


def _rows(split: str, data: Any, request: Request) -> Rows:
    from datasets import Image

    features = {name: type(kind).__name__ for name, kind in data.features.items()}
    image = _column(features, request, "image", ("Image",))
    label = _column(features, request, "label", ("ClassLabel",))
    stored = data.cast_column(image, Image(decode=False))
    content = [_bytes(each) for each in stored[image]]
    digest = hashlib.sha256()
    for each in content:
        digest.update(f"{len(each)}:".encode() + each)
    names = [f"row {number}" for number in range(len(content))]
    pictures = Pictures(request.path / split, names, digest.hexdigest(), content.__getitem__)
    known = data.features[label]
    classes = known.names if features[label] == "ClassLabel" else None
    labels = np.asarray(data[label][:])
    if classes is not None and len(labels) and labels.min() < 0:
        raise BadInputError(
            f"{request.place}: {split} has images without a class (label {labels.min()}); remove "
            "that split before it is saved"
        )
    return Rows(pictures, labels, classes)


def _bytes(stored: Mapping[str, Any]) -> bytes:
    """Return an image's bytes, which the data set holds or names a file of."""
    content: bytes | None = stored["bytes"]
    return read_file(Path(stored["path"])) if content is None else content


def _column(features: Mapping[str, str], request: Request, key: str, kinds: tuple[str, ...]) -> str:
    """Return the column of a setting, or else the only one of these kinds."""
    asked: str = getattr(request.settings, key)
    if asked:
        if asked not in features:
            raise BadInputError(
                f"{request.key(key)}: no column {asked!r}; {nearest(asked, features)}"
            )
        return asked
    found = [name for name, kind in features.items() if kind in kinds]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{name} ({kind})" for name, kind in features.items())
    raise BadInputError(
        f"{request.place}: {len(found)} columns could be the {key}; name one with data.{key} "
        f"(columns: {listed})"
    )


def _images(
    pictures: Mapping[str, Pictures], request: Request
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Decode all images, uint8 [N, 3, H, W], and say to which size."""
    how, native = _size(pictures["train"], request)
    height, width = how.shape
    count = sum(len(each.names) for each in pictures.values())
    if request.settings.memory == "auto" and count * 3 * height * width > FITS:
        raise BadInputError(
            f"{request.place}: {count:,} images of {height} x {width} take more than "
            f"{FITS >> 30} GiB; write data.memory = true, or a smaller data.size"
        )

    def decode(how: Preprocessing, native: bool) -> dict[str, Tensor]:
        keep = request.keep
        return {s: decoded(p, how, keep, native=native).images for s, p in pictures.items()}

    try:
        return decode(how, native), {"size": "native"} if native else how.facts()
    except MixedSizesError:
        if request.settings.size == "native":
            sizes = spread(_sizes(pictures))
            raise BadInputError(
                f"{request.key('size')}: native images must have one size, but they have {sizes}; "
                "write size = N or [height, width]"
            ) from None
        return decode(STANDARD, False), STANDARD.facts()


def _size(pictures: Pictures, request: Request) -> tuple[Preprocessing, bool]:
    asked = asked_size(request.settings)
    if asked:
        return asked, False
    with quiet():
        first = upright_size(pictures.root / pictures.names[0], pictures.content(0))
    native = max(first) <= SMALL or request.settings.size == "native"
    return (sized(first), True) if native else (STANDARD, False)


def _sizes(pictures: Mapping[str, Pictures]) -> Counter[tuple[int, int]]:
    with quiet():
        return Counter(
            upright_size(each.root / name, each.content(number))
            for each in pictures.values()
            for number, name in enumerate(each.names)
        )
