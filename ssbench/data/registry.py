"""Every data set by name: its description, how to open it, and its downloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssbench.errors import BadInputError, nearest

if TYPE_CHECKING:
    from ssbench.data.dataset import DataSet
    from ssbench.data.download import Known

FOLDER = "imagefolder:"
"""Prefix of a data set that is a folder of images; its path follows."""


@dataclass(frozen=True)
class Entry:
    """A named data set.

    Attributes:
        opener: "module:function" in `ssbench.data`, so that listing needs no torch; the function
            takes the folder of all data sets.
        shape: of an image: channels, height, width.
        images: numbers for training, validation and test.
        lister: "module:function" that returns the files to download; empty: none.
    """

    opener: str
    shape: tuple[int, int, int]
    classes: int
    images: tuple[int, int, int]
    summary: str
    lister: str = ""

    def open(self, root: Path) -> DataSet:
        """Read and verify the data set."""
        opened: DataSet = _function(self.opener)(root)
        return opened

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
        "folder_set:imagenet",
        (3, 224, 224),
        1000,
        (1_271_167, 10_000, 50_000),
        "ImageNet-1k; needs an account at image-net.org (Russakovsky et al. 2015)",
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
    if name not in DATASETS and not (name.startswith(FOLDER) and name != FOLDER):
        raise BadInputError(
            f"{place}: unknown data set {name!r}; "
            f"{nearest(name, DATASETS, 'ssbench list datasets')}; or a folder of your own: "
            f"{FOLDER}PATH"
        )


def open_dataset(name: str, root: Path, place: str = "dataset") -> DataSet:
    """Read and verify a data set.

    Args:
        name: one of `DATASETS`, or ``imagefolder:PATH``.
        root: the folder of all data sets.
        place: the key that names it, for errors.

    Raises:
        BadInputError: an unknown name, or a file is missing, damaged or mislabelled.
    """
    check(name, place)
    if name.startswith(FOLDER):
        path = Path(name.removeprefix(FOLDER)).expanduser()
        from ssbench.data.folder_set import folder  # needs torch

        return folder(path, dataset_name(name), place, root)
    return DATASETS[name].open(root)


def dataset_name(name: str) -> str:
    """Return a data set's name for records: only the last part of a folder's path.

    The rest of the path says nothing about the images, which have a fingerprint.
    """
    if not name.startswith(FOLDER):
        return name
    path = Path(name.removeprefix(FOLDER))
    return FOLDER + (path if path.name not in ("", "..") else path.resolve()).name


def in_folder(name: str) -> bool:
    """Whether a data set is a folder of photographs."""
    return name == "imagenet" or name.startswith(FOLDER)
