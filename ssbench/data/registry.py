"""Every data set by name: its description, how to open it, and its downloads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssbench.errors import BadInputError, nearest

if TYPE_CHECKING:
    from ssbench.data.dataset import DataSet
    from ssbench.data.download import Known
    from ssbench.data.own.settings import DataSettings

FOLDER = "imagefolder:"
"""Prefix of a data set that is a folder of images; its path follows."""
OWN = {FOLDER: "own.folder:folder", "npz:": "own.npz:npz", "hf:": "own.saved:saved"}
"""The prefixes of images of one's own, and who opens the path that follows."""
FUNCTION = re.compile(r"(?P<path>.+\.py):(?P<function>[^:/]+)")
"""The name of a data set that a function of one's own returns."""
FORMS = {
    f"{FOLDER}PATH": "A folder for each class of your own images, also below train, val and test",
    "npz:PATH": "Arrays of your own: x_train, y_train, and x_test, y_test",
    "hf:PATH": "A data set of Hugging Face's library datasets, saved to disk",
    "FILE.py:FUNCTION": "A function of your own that returns such arrays",
}
"""How to name images of one's own."""


@dataclass(frozen=True)
class Entry:
    """A named data set.

    Attributes:
        opener: "module:function" in `ssbench.data`, so that listing needs no torch; the function
            takes the folder of all data sets.
        shape: of an image: channels, height, width.
        images: numbers for training, validation and test.
        lister: "module:function" that returns the files to download; empty: none.
        prepares: whether the opener takes a `ssbench.data.own.settings.Request` instead.
    """

    opener: str
    shape: tuple[int, int, int]
    classes: int
    images: tuple[int, int, int]
    summary: str
    lister: str = ""
    prepares: bool = False

    def files(self) -> Sequence[Known]:
        """List the files that can be downloaded; imports torchvision if there are any."""
        listed: Sequence[Known] = _function(self.lister)() if self.lister else ()
        return listed


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(f"ssbench.data.{module}"), function)


_MNIST = ((1, 28, 28), 10, (55_000, 5_000, 10_000))


_CIFAR = ((3, 32, 32), (45_000, 5_000, 10_000))


DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "digits:digits",
        (1, 8, 8),
        10,
        (1000, 297, 500),
        "Handwritten digits in grey; they ship with scikit-learn",
    ),
    "fashion-mnist": Entry(
        "torchvision_sets:fashion_mnist",
        *_MNIST,
        "Clothes in grey (Xiao et al. 2017)",
        "torchvision_sets:fashion_mnist_files",
    ),
    "mnist": Entry(
        "torchvision_sets:mnist",
        *_MNIST,
        "Handwritten digits in grey (LeCun et al. 1998)",
        "torchvision_sets:mnist_files",
    ),
    "cifar10": Entry(
        "torchvision_sets:cifar10",
        _CIFAR[0],
        10,
        _CIFAR[1],
        "Photographs in colour, ten classes (Krizhevsky 2009)",
        "torchvision_sets:cifar10_files",
    ),
    "cifar100": Entry(
        "torchvision_sets:cifar100",
        _CIFAR[0],
        100,
        _CIFAR[1],
        "Photographs in colour, 100 classes (Krizhevsky 2009)",
        "torchvision_sets:cifar100_files",
    ),
    "svhn": Entry(
        "torchvision_sets:svhn",
        (3, 32, 32),
        10,
        (68_257, 5_000, 26_032),
        "House numbers in colour (Netzer et al. 2011)",
        "torchvision_sets:svhn_files",
    ),
    "imagenet": Entry(
        "own.folder:imagenet",
        (3, 224, 224),
        1000,
        (1_271_167, 10_000, 50_000),
        "ImageNet-1k; needs an account at image-net.org (Russakovsky et al. 2015)",
        prepares=True,
    ),
    "synthetic": Entry(
        "synthetic:synthetic",
        (3, 32, 32),
        10,
        (4000, 500, 1000),
        "Coloured shapes, drawn by program: for trials, not for results",
    ),
}


def check(name: str, place: str) -> None:
    """Check that a data set of this name exists.

    Raises:
        BadInputError: names ``place`` and similar names.
    """
    if name not in DATASETS and _own(name) is None:
        raise BadInputError(
            f"{place}: unknown data set {name!r}; "
            f"{nearest(name, DATASETS, 'ssbench list datasets')}; or images of your own: "
            f"{', '.join(FORMS)}"
        )


def open_dataset(
    name: str, root: Path, place: str = "dataset", settings: DataSettings | None = None
) -> DataSet:
    """Read and verify a data set.

    Args:
        name: one of `DATASETS`, or images of one's own as in `FORMS`.
        root: the folder of all data sets.
        place: the key that names it, for errors.
        settings: how to prepare the images.

    Raises:
        BadInputError: an unknown name, a file is missing, damaged or mislabelled, or a setting
            does not fit.
    """
    check(name, place)
    opener, path, function = _own(name) or ("", root, "")
    entry = DATASETS.get(name)
    asked = settings or _settings().DataSettings()
    if entry and not entry.prepares:
        return _as_shipped(_function(entry.opener)(root), asked, place)
    request = _settings().Request(path, dataset_name(name), place, root, asked, function=function)
    opened: DataSet = _function(entry.opener if entry else opener)(request)
    return opened


def open_same(name: str, root: Path, settings: DataSettings, fingerprint: str) -> DataSet:
    """Open a data set again; one of one's own must have kept its fingerprint, if one is given.

    Raises:
        BadInputError: it changed meanwhile, or `open_dataset` refuses it.
    """
    dataset = open_dataset(name, root, settings=settings)
    own = dataset.facts.get("memory") and fingerprint
    if own and dataset.fingerprint != fingerprint:
        raise BadInputError(
            f"dataset: {dataset.name} gives other images or labels than at the start of this run; "
            "put the files back, or let the function return the same arrays each time"
        )
    return dataset


def _as_shipped(dataset: DataSet, settings: DataSettings, place: str) -> DataSet:
    """Return a data set that ssbench knows, with another normalisation if it is asked for."""
    others = tuple(name for name in settings.changed() if name != "normalise")
    why = f"{dataset.name} has a size and splits of its own"
    _settings().refuse(settings, others, place, why)
    normalised: DataSet = _function("own.assemble:normalised")(dataset, settings, place)
    return normalised


def _settings() -> Any:
    return import_module("ssbench.data.own.settings")


def _own(name: str) -> tuple[str, Path, str] | None:
    """Return the opener, the path and the function's name of images of one's own."""
    for prefix, opener in OWN.items():
        if name.startswith(prefix) and name != prefix:
            return opener, Path(name.removeprefix(prefix)).expanduser(), ""
    if found := FUNCTION.fullmatch(name):
        return "own.function:function", Path(found["path"]).expanduser(), found["function"]
    return None


def located(name: str, folder: Path) -> str:
    """Return a data set's name with its path below this folder, if it is there.

    The paths of an experiment are relative to its file, or else to the working folder.
    """
    own = _own(name)
    if own is None or own[1].is_absolute() or not (folder / own[1]).exists():
        return name
    prefix = next((each for each in OWN if name.startswith(each)), "")
    return f"{prefix}{folder / own[1]}" + (f":{own[2]}" if own[2] else "")


def dataset_name(name: str) -> str:
    """Return a data set's name for records: only the last part of a path.

    The rest of the path says nothing about the images, which have a fingerprint.
    """
    own = _own(name)
    if own is None:
        return name
    _, path, function = own
    last = (path if path.name not in ("", "..") else path.resolve()).name
    prefix = next((each for each in OWN if name.startswith(each)), "")
    return f"{prefix}{last}:{function}" if function else f"{prefix}{last}"


def in_folder(name: str) -> bool:
    """Whether a data set is a folder of photographs, by its name alone."""
    return name == "imagenet" or name.startswith(FOLDER)
