"""Describe a data set before anything trains: classes, sizes, sample hashes and warnings."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.data.held_back import HeldBack
from ssbench.data.image_folder import Files, read_file
from ssbench.data.own.layout import Folder, splits
from ssbench.data.own.settings import DataSettings, Request
from ssbench.data.own.sizes import all_sizes
from ssbench.data.registry import FOLDER, open_dataset
from ssbench.data.remarks import SPLITS, remarks
from ssbench.data.survey import try_all
from ssbench.errors import BadInputError

UNEVEN = 3
"""A warning names classes if one has this many times the training images of another."""
Described = dict[str, Any]
Part = Split | Files


def describe(name: str, root: Path, settings: DataSettings) -> Described:
    """Describe a data set as plain JSON; the key ``usable`` says whether ssbench can train on it.

    Of a folder with images that cannot be read, names all of them.

    Raises:
        BadInputError: it cannot be opened for another reason.
    """
    try:
        dataset = open_dataset(name, root, "data", settings)
        for part in _parts(dataset):
            if isinstance(part, Files):
                part.verify()
        return _whole(name, dataset)
    except BadInputError:
        if not name.startswith(FOLDER):
            raise
        path = Path(name.removeprefix(FOLDER)).expanduser()
        found = splits(Request(path, name, "data", root, settings))
        unreadable = _unreadable(found)
        if not unreadable:
            raise
    return _broken(name, found, unreadable)


def _whole(name: str, dataset: DataSet) -> Described:
    parts = dict(zip(SPLITS, _parts(dataset), strict=True))
    files = dataset.origin or tuple(part for part in parts.values() if isinstance(part, Files))
    names = dataset.names or tuple(map(str, range(dataset.classes)))
    mean, sd = dataset.normalisation
    return {
        "name": name,
        "usable": True,
        "image": list(dataset.train.image_shape),
        **_counts(names, {split: part.labels for split, part in parts.items()}),
        "sizes": _sizes(files) if "source" in dataset.facts else [],
        "prepared": dict(dataset.facts),
        "preprocessing": dataset.on_disk.facts() if dataset.on_disk else None,
        "mean": [value / 255 for value in mean.flatten().tolist()],
        "sd": [value / 255 for value in sd.flatten().tolist()],
        "shift": dataset.standard.shift,
        "flip": dataset.standard.flip,
        "converted": _converted(files),
        "samples": _samples(parts, names, dataset.origin),
        "guess_error": dataset.guess_error,
        "fingerprint": dataset.fingerprint,
        "unreadable": [],
        "warnings": [*remarks(dataset), *_uneven(dataset.name, names, dataset.train.labels)],
    }


def _broken(name: str, found: Folder, unreadable: list[dict[str, str]]) -> Described:
    parts: dict[str, Part] = dict(
        zip(SPLITS, (found.train, found.validation, found.test), strict=True)
    )
    count = sum(map(len, parts.values()))
    warning = (
        f"{len(unreadable):,} of {count:,} images cannot be read; replace or remove them before "
        "a run"
    )
    return {
        "name": name,
        "usable": False,
        **_counts(found.classes, {split: part.labels for split, part in parts.items()}),
        "sizes": _sizes((found.train, found.validation, found.test)),
        "unreadable": unreadable,
        "warnings": [warning, *found.remarks, *_uneven(name, found.classes, found.train.labels)],
    }


def _parts(dataset: DataSet) -> tuple[Part, Part, Part]:
    assert not isinstance(dataset.test, HeldBack)
    return dataset.train, dataset.validation, dataset.test


def _unreadable(found: Folder) -> list[dict[str, str]]:
    wrong: dict[str, str] = {}
    for files in (found.train, found.validation, found.test):
        wrong |= try_all(files.root, files.paths, decode=True)[1]
    return [{"image": path, "reason": why} for path, why in wrong.items()]


def _counts(names: Sequence[str], labels: Mapping[str, torch.Tensor]) -> Described:
    counts = {s: each.bincount(minlength=len(names)).tolist() for s, each in labels.items()}
    return {
        "classes": len(names),
        "splits": {
            split: {"images": sum(count), "fewest": min(count), "most": max(count)}
            for split, count in counts.items()
        },
        "of_each_class": [
            {"name": name, **{split: count[label] for split, count in counts.items()}}
            for label, name in enumerate(names)
        ],
    }


def _sizes(files: Sequence[Files]) -> list[Described]:
    return [
        {"height": height, "width": width, "images": count}
        for (height, width), count in all_sizes(files).most_common()
    ]


def _converted(files: Sequence[Files]) -> dict[str, int]:
    """Count the images of a folder that each rule of `ssbench.data.picture` changes."""
    seen = [each for part in files if not part.plain for each in part.found.values()]
    return dict(Counter(rule for each in seen for rule in each.rules))


def _samples(
    parts: Mapping[str, Part], names: Sequence[str], origin: Sequence[Files] | None
) -> list[Described]:
    """Return the first image of each split, with the hash of its file or of its pixels."""
    found = []
    for number, (split, part) in enumerate(parts.items()):
        source = origin[number] if origin else part
        if isinstance(source, Files):
            image = source.paths[0]
            content = read_file(source.root / image)
        else:
            image, content = "image 0", source.images[0].cpu().numpy().tobytes()
        digest = hashlib.sha256(content).hexdigest()
        label = names[int(part.labels[0])]
        found.append({"split": split, "image": image, "label": label, "sha256": digest})
    return found


def _uneven(name: str, names: Sequence[str], labels: torch.Tensor) -> list[str]:
    counts = labels.bincount(minlength=len(names))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] < UNEVEN * counts[least]:
        return []
    one, other = (f"{int(counts[label]):,} of {names[label]!r}" for label in (most, least))
    guess = 100 * float(counts[most]) / len(labels)
    return [
        f"{name}: classes are uneven: {one} and {other} for training; always answering "
        f"{names[most]!r} is right in {guess:.0f} %"
    ]
