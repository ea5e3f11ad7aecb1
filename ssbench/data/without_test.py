"""Open a data set whose test images a method from elsewhere cannot see."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ssbench.data.dataset import DataSet, Split
from ssbench.data.digits import file_of_digits
from ssbench.data.held_back import HeldBack, close
from ssbench.data.image_folder import Files
from ssbench.data.own.settings import DataSettings
from ssbench.data.registry import DATASETS, open_same
from ssbench.data.torchvision_sets import DEBIAN


def open_without_test(
    name: str, root: Path, outsider: str, settings: DataSettings, same: str = ""
) -> DataSet:
    """Read a data set like `open_same`, but hide its test images from a method's module.

    Until `HeldBack.opened` reads them again, this process can open neither their files nor a data
    set.
    """
    read = partial(open_same, name, root, settings, same)
    dataset = read()
    return hold_back(dataset, read, places_of_test(dataset, name, root), outsider)


def hold_back(
    dataset: DataSet, read: Callable[[], DataSet], places: Sequence[Path], outsider: str
) -> DataSet:
    """Hide the test images of a data set from this process.

    Args:
        dataset: the only reference to it.
        read: opens it again.
        places: files or folders with its test images.
        outsider: the module of the method.
    """

    def test() -> Split | Files:
        split = read().test
        assert not isinstance(split, HeldBack)
        return split

    hidden = HeldBack(len(dataset.test), dataset.guess_error, test)
    kept = replace(dataset, test=hidden, origin=None)
    gc.collect()  # a function's file may have left arrays behind
    close(places, outsider)
    return kept


def places_of_test(dataset: DataSet, name: str, root: Path) -> list[Path]:
    """Return the files or folders with a data set's test images; none if a program draws them."""
    if name == "imagenet":
        return [root / name / "val"]
    if name in DATASETS:
        return [file_of_digits()] if name == "digits" else [root, DEBIAN]
    parts = dataset.origin or (dataset.train, dataset.validation, dataset.test)
    files = parts[2]  # links may lead out of the folder
    test = [files.root / path for path in files.paths] if isinstance(files, Files) else []
    return [*dataset.places, *test]
