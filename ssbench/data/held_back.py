"""Hide the test images from a method from elsewhere until its network is measured.

A process that runs a stage of a method that does not ship with ssbench drops the test split before
it imports the method. From then on it refuses to open the files of the data set and to make a
`DataSet`, except while `HeldBack.opened` lasts.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ssbench.errors import RunFailedError


class HeldBackError(RunFailedError):
    """A method's code tried to read the test images."""


@dataclass(frozen=True)
class HeldBack:
    """Replaces a test split that is not in memory.

    Attributes:
        count: the number of its images.
        guess_error: the error in percent of always answering with the most frequent class.
        read: reads the split again.
    """

    count: int
    guess_error: float
    read: Callable[[], Any] = field(repr=False)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return self.count

    def to(self, device: torch.device) -> HeldBack:
        """Return a copy that is read to another device."""
        return replace(self, device=device)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Yield the test images, to measure on them.

        Raises:
            HeldBackError: the method's code, or another thread, asks for them.
        """
        _SEAL.check_caller()
        with _SEAL.lifted():
            yield self.read().to(self.device)


class _Seal:
    """Whether this process may open test images, and which files hold them."""

    def __init__(self) -> None:
        self.closed, self._hooked = False, False
        self._folders: tuple[str, ...] = ()
        self._files: frozenset[str] = frozenset()
        self._noted: set[str] | None = None
        self._outsider = ""

    def close(self, places: Sequence[Path], outsider: str) -> None:
        paths = [os.path.realpath(place) for place in places]
        self._files = frozenset(paths)
        self._folders = tuple(path + os.sep for path in paths if not Path(path).is_file())
        self._outsider = outsider
        self._hook()
        self.closed = True

    def _hook(self) -> None:
        if not self._hooked:
            sys.addaudithook(self._audit)  # it cannot be removed again
        self._hooked = True

    @contextmanager
    def noting(self) -> Iterator[set[str]]:
        self._hook()
        self._noted = noted = set[str]()
        try:
            yield noted
        finally:
            self._noted = None

    @contextmanager
    def lifted(self) -> Iterator[None]:
        self.closed = False
        try:
            yield
        finally:
            self.closed = True

    def check(self, what: str) -> None:
        if self.closed:
            raise HeldBackError(
                f"{what} while a method trains or scores: test images stay hidden until its "
                "network is measured; the argument batches of scores has training images"
            )

    def check_caller(self) -> None:
        """Refuse a call from the method's module, or from a thread that it started."""
        frame: FrameType | None = sys._getframe()
        asked = threading.current_thread() is not threading.main_thread()
        while frame is not None:
            asked = asked or frame.f_globals.get("__name__") == self._outsider
            frame = frame.f_back
        if asked:
            self.check("test images were asked for")

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not (self.closed or self._noted is not None):
            return
        if not isinstance(arguments[0], str | bytes):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if self._noted is not None:
            self._noted.add(path)
        if path in self._files or path.startswith(self._folders):
            self.check(f"{path} was opened")


_SEAL = _Seal()
"""The seal of this process."""


def check_open() -> None:
    """Refuse to make a data set while the test images are held back.

    Raises:
        HeldBackError: they are held back.
    """
    _SEAL.check("a data set was opened")


@contextmanager
def files_opened() -> Iterator[set[str]]:
    """Yield a set that receives the path of every file that Python opens meanwhile."""
    with _SEAL.noting() as noted:
        yield noted


def close(places: Sequence[Path], outsider: str) -> None:
    """Refuse from now on to open these files or folders, and to make a data set.

    Args:
        places: of the test images.
        outsider: the module of the method that must not see them.
    """
    _SEAL.close(places, outsider)
