"""Read TOML files that people write, within limits that no sensible file meets; write values."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
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


def toml_value(value: Any, place: str) -> str:
    """Write a value of Python as TOML in one line, also numpy's numbers and paths.

    Raises:
        BadInputError: TOML has no such value; names ``place``.
    """
    value = value.item() if hasattr(value, "item") else value
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            pairs = (
                f"{toml_key(key, place)} = {toml_value(inner, f'{place}.{key}')}"
                for key, inner in value.items()
            )
            return f"{{ {', '.join(pairs)} }}"
        case Sequence():
            inner = (toml_value(each, f"{place}.{i}") for i, each in enumerate(value))
            return f"[{', '.join(inner)}]"
    raise BadInputError(
        f"{place}: {value!r} is no value of an experiment; give text, a number, True or False, a "
        "list or a dict"
    )


def toml_key(key: Any, place: str) -> str:
    """Write a key of a table, quoted if it must be.

    Raises:
        BadInputError: it is not text; names ``place``.
    """
    if not isinstance(key, str):
        raise BadInputError(f"{place}: the key {key!r} is not text")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key, place)


_DEEP = "nested too deeply; write flat tables and lists"
