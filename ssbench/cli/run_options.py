"""Options of `ssbench run` that typer cannot read."""

from __future__ import annotations

from typing import Literal

from ssbench.errors import BadInputError


def concurrency_of(text: str | None) -> int | Literal["auto"] | None:
    """Read ``--concurrency``.

    Raises:
        BadInputError: neither a number of processes nor auto.
    """
    if text is None or text == "auto":
        return "auto" if text else None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise BadInputError(f"--concurrency {text}: write a number of processes, at least 1, or auto")
