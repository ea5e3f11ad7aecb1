"""Change values of an experiment from the command line: ``--set key.path=value``."""

from __future__ import annotations

import tomllib
from typing import Any

from ssbench.errors import BadInputError, nearest


def override(content: dict[str, Any], text: str) -> None:
    """Set one value; a part of the path is a key, a list's index or a method's name."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise BadInputError(f"--set {text}: write key.path=value, for example train.epochs=5")
    target: Any = content
    *parents, last = path.split(".")
    for part in parents:
        target = _step(target, part, text)
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        parsed = value  # a bare word is a string, as shells remove quotes
    if isinstance(target, list):
        target[_index(target, last, text)] = parsed
    elif isinstance(target, dict):
        target[last] = parsed
    else:
        raise BadInputError(f"--set {text}: {'.'.join(parents)} is a value, not a table")


def _step(target: Any, part: str, text: str) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, text)]
    if isinstance(target, dict):
        return target.setdefault(part, {})
    raise BadInputError(f"--set {text}: {part!r} is inside a value, not a table")


def _index(items: list[Any], part: str, text: str) -> int:
    names = [str(item.get("name")) if isinstance(item, dict) else str(item) for item in items]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    raise BadInputError(f"--set {text}: no entry {part!r}; {nearest(part, names)}")
