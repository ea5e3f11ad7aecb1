"""Names of networks with their arguments; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping


def called(name: str, arguments: Mapping[str, object]) -> str:
    """Write a name with its arguments: ``vgg16(width=0.5)``."""
    parts = [f"{key}={_word(value)}" for key, value in sorted(arguments.items())]
    return f"{name}({', '.join(parts)})" if parts else name


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
