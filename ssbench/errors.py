"""Errors, their wording, and the allowed ranges of numbers.

>>> outside(1e29, (0.0, 1.0, "more than this takes all of a weight in one step"))
'must lie between 0 and 1: more than this takes all of a weight in one step'
"""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def wrong(error: ValidationError, whole: str = "the file") -> str:
    """Write a schema's first error and its place in one line: ``budget.kept: input should be …``.

    Args:
        error: pydantic's error.
        whole: the place to name when no single key is at fault.
    """
    detail = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in detail["loc"]) or whole
    return f"{place}: {message(detail)}"


def message(detail: ErrorDetails) -> str:
    """Write one error of a schema in lower case, without pydantic's prefix."""
    text = detail["msg"].removeprefix("Value error, ")
    return text[0].lower() + text[1:]


Limit = tuple[float, float, str]
"""The lowest and the highest allowed value, and the reason in words."""
ANY_NUMBER: Limit = (-1e12, 1e12, "single precision cannot compute with larger numbers for long")
"""For a hyper-parameter whose method declares no limit."""


def outside(value: object, limit: Limit) -> str | None:
    """Say why a value is out of its range; None if it is inside or not a number."""
    low, high, reason = limit
    if isinstance(value, bool) or not isinstance(value, int | float) or low <= value <= high:
        return None
    return f"must lie between {low:g} and {high:g}: {reason}"


@dataclass(frozen=True)
class within:  # noqa: N801 -- reads like a function in Annotated
    """A field's range for pydantic, for ``Annotated``: ``within(0, 1, "it is a share")``."""

    low: float
    high: float
    reason: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Check the range after the type."""
        from pydantic_core.core_schema import no_info_after_validator_function

        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Tell the range to editors."""
        return {**handler(schema), "minimum": self.low, "maximum": self.high}

    def _check(self, value: Any) -> Any:
        if found := outside(value, (self.low, self.high, self.reason)):
            raise ValueError(found)
        return value


MOST_NAMES = 3
"""The number of names that a message suggests; a list of hundreds hides the message."""


def nearest(name: str, known: Iterable[str], everything: str = "") -> str:
    """Suggest the known names that were probably meant, at most `MOST_NAMES`.

    Args:
        name: the unknown name.
        known: all names.
        everything: what shows all of them, for example ``ssbench list models``.
    """
    names = sorted(set(known))
    more = f"{everything} shows all {len(names):,}" if everything else ""
    close = difflib.get_close_matches(name, names, n=MOST_NAMES, cutoff=0.5)
    if close:
        return f"did you mean {alternatives(close)}? {more}".rstrip()
    if len(names) <= MOST_NAMES:
        return f"known: {', '.join(names)}"
    return more or f"known: {few(names, ', ')}"


def few(names: Sequence[str], separator: str = "; ") -> str:
    """Write at most `MOST_NAMES` names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return separator.join(names[:MOST_NAMES]) + more


def alternatives(names: Sequence[str]) -> str:
    """Write names as ``'a', 'b' or 'c'``."""
    *first, last = [repr(name) for name in names]
    return f"{', '.join(first)} or {last}" if first else last


def first_line(error: BaseException) -> str:
    """Return the first line with text of an error's message; without any, its class."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def located(error: Exception) -> str:
    """Return an error's text, and the line of a user's file at fault."""
    if isinstance(error, BadInputError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frame = blamed(error)
    place = f" ({frame.filename}, line {frame.lineno})" if frame else ""
    return f"{type(error).__name__}: {error}{place}"


def blamed(error: BaseException) -> FrameSummary | None:
    """Return the innermost line of the user's own code under which an error arose.

    Without one, the innermost line of a method of ssbench, else the innermost of all: the line at
    fault called what raised. None: the error was never raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    files = [each for each in frames if not each.filename.startswith("<")]
    users = [each for each in files if _is_users(each.filename)]
    methods = [each for each in files if Path(each.filename).parent in _METHODS]
    ranked = users or methods or files or frames
    return ranked[-1] if ranked else None


_PACKAGE = Path(__file__).parent
_METHODS = (_PACKAGE / "methods", _PACKAGE.parent / "methods")
_LIBRARIES = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platlib", "purelib")})


def _is_users(filename: str) -> bool:
    """Whether a file belongs neither to ssbench nor to Python and its packages."""
    path = Path(filename)
    ours = path.is_relative_to(_PACKAGE) or path.parent in _METHODS
    return not ours and not filename.startswith(_LIBRARIES) and path.is_file()


Fault = Literal["damaged", "other-version"]


class BadInputError(Exception):
    """Unusable input: a file, value or option that the user gave. Exit code 2.

    The message names the place (file, key path or option), what is wrong and the remedy.
    """


class DamagedError(BadInputError):
    """A file that ssbench wrote was altered since, or belongs to another version.

    Code that can recompute the content catches it.
    """

    def __init__(self, place: str, what: str, remedy: str, fault: Fault = "damaged") -> None:
        super().__init__(f"{place}: {what}; {remedy}")
        self.told = f"{place}: {what}"
        """The message without the remedy, for callers that apply a remedy themselves."""
        self.fault = fault

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling, so that the error keeps its type across processes."""
        return _damaged, (str(self), self.told, self.fault)


def _damaged(message: str, told: str, fault: Fault) -> DamagedError:
    error = DamagedError("", "", "", fault)
    error.args, error.told = (message,), told
    return error


class RunFailedError(Exception):
    """One run cannot continue (diverged, out of memory, a method raised); the other runs do."""


class NoRoomError(RunFailedError):
    """Not enough memory for a training step."""


class NotFiniteError(RunFailedError):
    """A network gives an output that is not finite, so that nothing can be compared with it."""


class DivergedError(RunFailedError):
    """The training loss is no longer finite.

    Attributes:
        epoch: the first epoch of the stage with such a loss.
    """

    def __init__(self, loss: float, epoch: int, of: int) -> None:
        super().__init__(f"diverged: the training loss is {loss} in epoch {epoch} of {of}")
        self.epoch = epoch
