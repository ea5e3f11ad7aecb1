"""A data set whose test images are held back from a method that does not ship with ssbench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ssbench.data.dataset import DataSet, Split
from ssbench.data.digits import file_of_digits
from ssbench.data.held_back import HeldBack, close
from ssbench.data.image_folder import Files
from ssbench.data.registry import FOLDER, open_dataset
from ssbench.data.torchvision_sets import DEBIAN


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
        assert not isinstance(split, HeldBack)
        return split

    kept = replace(dataset, test=HeldBack(len(dataset.test), dataset.guess_error, test))
    close(places, outsider)
    return kept


def _places_of_test(name: str, root: Path) -> list[Path]:
    """The files or folders that hold a data set's test images; none where a program draws them."""
    if name.startswith(FOLDER):
        return [Path(name.removeprefix(FOLDER)).expanduser() / "val"]
    if name == "imagenet":
        return [root / name / "val"]
    return [file_of_digits()] if name == "digits" else [root, DEBIAN]
