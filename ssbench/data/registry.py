"""Every data set by name: what it is, how it is opened, and what can be fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ssbench.data.dataset import Augmentation, DataSet, Split
from ssbench.data.digits import digits, file_of_digits
from ssbench.data.download import Known
from ssbench.data.held_back import HeldBack, close
from ssbench.data.image_folder import MEAN, SD, Files, splits
from ssbench.data.synthetic import synthetic
from ssbench.data.torchvision_sets import (
    DEBIAN,
    cifar10,
    cifar100,
    cifar_files,
    fashion_mnist,
    idx_files,
    mnist,
    svhn,
    svhn_files,
)
from ssbench.errors import BadInputError, nearest


@dataclass(frozen=True)
class Source:
    """Where a data set comes from that can be named; `ssbench.models.registry` says what it is.

    Attributes:
        open: takes the folder of all data sets.
        files: what has to be there; asked for when needed, as it takes torchvision.
    """

    open: Callable[[Path], DataSet]
    files: Callable[[], Sequence[Known]] = tuple


def imagenet(root: Path) -> DataSet:
    """ImageNet-1k, 224 pixels (Russakovsky et al. 2015): 1,271,167 / 10,000 / 50,000.

    It needs an account at image-net.org and cannot be fetched: put it, unpacked, in
    ``ROOT/imagenet/train/CLASS/*.JPEG`` and ``ROOT/imagenet/val/CLASS/*.JPEG``.
    """
    return folder(root / "imagenet", "imagenet", "dataset")


def folder(root: Path, name: str, place: str) -> DataSet:
    """Open a folder of images by class, 224 pixels, with ImageNet's normalisation.

    Raises:
        BadInputError: the folder is not laid out as `ssbench.data.image_folder` says.
    """
    classes, train, validation, test = splits(root, place)
    mean, sd = (255 * torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, SD))
    standard = Augmentation(1, True)
    return DataSet(name, classes, train, validation, test, standard, (mean, sd))


DATASETS: dict[str, Source] = {
    "digits": Source(lambda _: digits()),
    "fashion-mnist": Source(fashion_mnist, partial(idx_files, True)),
    "mnist": Source(mnist, partial(idx_files, False)),
    "cifar10": Source(cifar10, partial(cifar_files, 10)),
    "cifar100": Source(cifar100, partial(cifar_files, 100)),
    "svhn": Source(svhn, svhn_files),
    "imagenet": Source(imagenet),
    "synthetic": Source(lambda _: synthetic()),
}


def check(name: str, place: str) -> None:
    """See that a data set can be named so.

    Raises:
        BadInputError: names ``place`` and what is near.
    """
    if name not in DATASETS and not (name.startswith(FOLDER) and name != FOLDER):
        raise BadInputError(
            f"{place}: unknown data set {name!r}; {nearest(name, DATASETS)}; or a folder of your "
            f"own: {FOLDER}PATH"
        )


def open_dataset(name: str, root: Path, place: str = "dataset") -> DataSet:
    """Read and verify a data set.

    Args:
        name: one of `DATASETS`, or ``imagefolder:PATH``.
        root: the folder of all data sets.
        place: what named it, for errors.

    Raises:
        BadInputError: it is unknown, or a file is missing, damaged or mislabelled.
    """
    check(name, place)
    if name.startswith(FOLDER):
        path = Path(name.removeprefix(FOLDER)).expanduser()
        return folder(path, dataset_name(name), place)
    return DATASETS[name].open(root)


def open_without_test(name: str, root: Path, outsider: str) -> DataSet:
    """Read a data set like `open_dataset`, but hold its test images back from a method's module.

    Until `HeldBack.opened` reads them again, nothing here can open their files, nor a data set.
    """
    read = partial(open_dataset, name, root)
    return hold_back(read(), read, _places_of_test(name, root), outsider)


def hold_back(
    dataset: DataSet, read: Callable[[], DataSet], places: Sequence[Path], outsider: str
) -> DataSet:
    """Hold the test images of a data set back from this process.

    Args:
        dataset: nothing else may refer to it.
        read: gives it again.
        places: files or folders with its test images.
        outsider: the module of the method.
    """

    def test() -> Split | Files:
        split = read().test
        assert not isinstance(split, HeldBack)  # noqa: S101 -- says the class
        return split

    kept = replace(dataset, test=HeldBack(len(dataset.test), test))
    close(places, outsider)
    return kept


def _places_of_test(name: str, root: Path) -> list[Path]:
    """The files or folders that hold a data set's test images; none where a program draws them."""
    if name.startswith(FOLDER):
        return [Path(name.removeprefix(FOLDER)).expanduser() / "val"]
    if name == "imagenet":
        return [root / name / "val"]
    return [file_of_digits()] if name == "digits" else [root, DEBIAN]


@dataclass(frozen=True)
class Pictures:
    """A data set.

    Attributes:
        shape: of an image: channels, height, width.
        images: for training, validation and test.
    """

    shape: tuple[int, int, int]
    classes: int
    images: tuple[int, int, int]
    summary: str


_MNIST = ((1, 28, 28), 10, (55_000, 5_000, 10_000))


_CIFAR = ((3, 32, 32), (45_000, 5_000, 10_000))


LISTED: dict[str, Pictures] = {
    "digits": Pictures(
        (1, 8, 8), 10, (1000, 297, 500), "Handwritten digits in grey; they ship with scikit-learn"
    ),
    "fashion-mnist": Pictures(*_MNIST, "Clothes in grey (Xiao et al. 2017)"),
    "mnist": Pictures(*_MNIST, "Handwritten digits in grey (LeCun et al. 1998)"),
    "cifar10": Pictures(
        _CIFAR[0], 10, _CIFAR[1], "Photographs in colour, ten classes (Krizhevsky 2009)"
    ),
    "cifar100": Pictures(
        _CIFAR[0], 100, _CIFAR[1], "Photographs in colour, 100 classes (Krizhevsky 2009)"
    ),
    "svhn": Pictures(
        (3, 32, 32), 10, (68_257, 5_000, 26_032), "House numbers in colour (Netzer et al. 2011)"
    ),
    "imagenet": Pictures(
        (3, 224, 224),
        1000,
        (1_271_167, 10_000, 50_000),
        "ImageNet-1k; needs an account at image-net.org (Russakovsky et al. 2015)",
    ),
    "synthetic": Pictures(
        (3, 32, 32), 10, (4000, 500, 1000), "Coloured shapes, drawn by program: to try, no result"
    ),
}


FOLDER = "imagefolder:"
"""Begins the name of a data set that is a folder of images; its path follows."""


def dataset_name(name: str) -> str:
    """The name of a data set in records: of a folder's path the last part only.

    Where the folder lies says nothing about the images, which have a fingerprint.
    """
    return FOLDER + Path(name.removeprefix(FOLDER)).name if name.startswith(FOLDER) else name
