"""TOML files that people write, read with limits that none of theirs will meet."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError
from ssbench.storage.files import read

LIMIT = 2**18
"""Bytes that a file may have; the largest that ships has 5,000."""
MOST_DOTS = 2000
"""In one line: a dotted key takes time and memory by the square of its length."""

MOST_DEPTH = 50


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        BadInputError: it cannot be read, is no TOML, or passes a limit.
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
    """See that tables and lists are not nested deeper than `MOST_DEPTH`.

    Raises:
        BadInputError: they are; names ``place``.
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
