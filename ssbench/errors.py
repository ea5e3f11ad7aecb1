"""The ways in which ssbench stops: the input is wrong, or one run could not be finished."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def wrong(error: ValidationError, whole: str = "the file") -> str:
    """Say in one line what a schema found first, and where: ``budget.kept: input should be …``.

    Args:
        error: what pydantic raised.
        whole: names the place where no key is at fault.
    """
    detail = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in detail["loc"]) or whole
    return f"{place}: {message(detail)}"


def message(detail: ErrorDetails) -> str:
    """Write one finding of a schema in lower case, without pydantic's own prefix."""
    text = detail["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, and which there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"


Fault = Literal["damaged", "other-version"]


class BadInputError(Exception):
    """Something the user wrote or asked for cannot be used; ends with exit code 2.

    The message names the place (file, key path or option), what is wrong and the remedy.
    """


class DamagedError(BadInputError):
    """A file that ssbench wrote is not as it was written, or not of this version.

    What can be computed anew is: whoever can do that catches it.
    """

    def __init__(self, place: str, what: str, remedy: str, fault: Fault = "damaged") -> None:
        super().__init__(f"{place}: {what}; {remedy}")
        self.told = f"{place}: {what}"
        """The message without the remedy, for those who apply one themselves."""
        self.fault = fault

    def __reduce__(self) -> tuple[object, ...]:
        """Cross to another process as what it is."""
        return _damaged, (str(self), self.told, self.fault)


def _damaged(message: str, told: str, fault: Fault) -> DamagedError:
    error = DamagedError("", "", "", fault)
    error.args, error.told = (message,), told
    return error


class RunFailedError(Exception):
    """One run cannot go on (diverged, out of memory, a method raised); the other runs do."""


class NoRoomError(RunFailedError):
    """Memory does not suffice for a training step."""


class DivergedError(RunFailedError):
    """The loss of a training is no longer a finite number.

    Attributes:
        epoch: the first one of the stage of which that is so.
    """

    def __init__(self, loss: float, epoch: int, of: int) -> None:
        super().__init__(f"diverged: the training loss is {loss} in epoch {epoch} of {of}")
        self.epoch = epoch
