"""Read TOML files that people write, within limits that no sensible file meets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError
from ssbench.storage.files import read

LIMIT = 2**18
"""Maximum size of a file in bytes; the largest shipped one has 5,000."""
MOST_DOTS = 2000
"""Per line: the cost of a dotted key grows with the square of its length."""

MOST_DEPTH = 50


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        BadInputError: it cannot be read, is not TOML, or exceeds a limit.
    """
    try:
        text = read(path, LIMIT).decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: cannot be read ({error}); name a readable file") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MOST_DOTS:
            raise BadInputError(
                f"{path}, line {number}: {line.count('.'):,} dots, more than {MOST_DOTS:,}; write "
                "long lists over several lines"
            )
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise BadInputError(f"{path}: {_DEEP}") from error
    except ValueError as error:  # also a number of thousands of digits
        raise BadInputError(f"{path}: not valid TOML: {error}") from error
    refuse_depth(content, str(path))
    return content


def refuse_depth(content: Any, place: str) -> None:
    """Refuse tables and lists nested deeper than `MOST_DEPTH`.

    Raises:
        BadInputError: names ``place``.
    """
    level = [content]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise BadInputError(f"{place}: {_DEEP}")


_DEEP = "nested too deeply; write flat tables and lists"
