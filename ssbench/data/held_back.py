"""The test images of a process that trains by code from elsewhere: out of its reach until measured.

A process that carries out a stage of a method that does not ship with ssbench drops the test split
before it imports the method. From then on it refuses to open the files of the data set and to make
a `DataSet`; both are allowed again only while `HeldBack.opened` lasts.
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
    """Code of a method asked for the test images."""


@dataclass(frozen=True)
class HeldBack:
    """Stands for a test split that is not in memory.

    Attributes:
        count: the number of its images.
        guess_error: the error in percent of always answering with the most frequent class.
        read: reads it again, as what `DataSet.test` else is.
    """

    count: int
    guess_error: float
    read: Callable[[], Any] = field(repr=False)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return self.count

    def to(self, device: torch.device) -> HeldBack:
        """Return the same, to be read to another device."""
        return replace(self, device=device)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Within it the test images are there, to be measured on.

        Raises:
            HeldBackError: code of the method asks for them, or another thread.
        """
        _SEAL.check_caller()
        with _SEAL.lifted():
            yield self.read().to(self.device)


class _Seal:
    """Whether this process may open test images, and which files hold them."""

    def __init__(self) -> None:
        self.closed, self._hooked = False, False
        self._places: tuple[str, ...] = ()
        self._outsider = ""

    def close(self, places: Sequence[Path], outsider: str) -> None:
        self._places = tuple(os.path.realpath(place) for place in places)
        self._outsider = outsider
        if not self._hooked:
            sys.addaudithook(self._audit)  # it cannot be taken out again
        self.closed = self._hooked = True

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
                f"{what} while a method trains or scores: test images are held back until it is "
                "measured; a method gets training images by the argument batches of scores"
            )

    def check_caller(self) -> None:
        """Refuse a call that comes from the method's module, or from a thread that it started."""
        frame: FrameType | None = sys._getframe()
        asked = threading.current_thread() is not threading.main_thread()
        while frame is not None:
            asked = asked or frame.f_globals.get("__name__") == self._outsider
            frame = frame.f_back
        if asked:
            self.check("test images were asked for")

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.closed or event != "open" or not isinstance(arguments[0], str | bytes):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if any(path == place or path.startswith(place + os.sep) for place in self._places):
            self.check(f"{path} was opened")


_SEAL = _Seal()
"""That of this process."""


def check_open() -> None:
    """Refuse to make a data set where the test images are held back.

    Raises:
        HeldBackError: they are.
    """
    _SEAL.check("a data set was opened")


def close(places: Sequence[Path], outsider: str) -> None:
    """From now on refuse to open these files or folders, and to make a data set.

    Args:
        places: of the test images.
        outsider: the module of the method that is not to see them.
    """
    _SEAL.close(places, outsider)
