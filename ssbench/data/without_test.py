"""Open a data set whose test images a method from elsewhere cannot see."""

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
    """Read a data set like `open_dataset`, but hide its test images from a method's module.

    Until `HeldBack.opened` reads them again, this process can open neither their files nor a data
    set.
    """
    read = partial(open_dataset, name, root)
    return hold_back(read(), read, _places_of_test(name, root), outsider)


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

    kept = replace(dataset, test=HeldBack(len(dataset.test), dataset.guess_error, test))
    close(places, outsider)
    return kept


def refuse_test(name: str, root: Path, outsider: str) -> None:
    """Hide a data set's test images from a method's module; this process has not opened them."""
    close(_places_of_test(name, root), outsider)


def _places_of_test(name: str, root: Path) -> list[Path]:
    """Return the files or folders with a data set's test images; none if a program draws them."""
    if name.startswith(FOLDER):
        return [Path(name.removeprefix(FOLDER)).expanduser() / "val"]
    if name == "imagenet":
        return [root / name / "val"]
    return [file_of_digits()] if name == "digits" else [root, DEBIAN]
