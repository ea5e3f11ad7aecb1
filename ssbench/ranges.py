"""The range of a number that somebody writes, and the reason for it.

>>> outside(1e29, (0.0, 1.0, "more than this takes all of a weight in one step"))
'must lie between 0 and 1: more than this takes all of a weight in one step'
"""

from __future__ import annotations

from typing import Any

from pydantic import AfterValidator

Limit = tuple[float, float, str]
"""The lowest and the highest value, both allowed, and in words why no other makes sense."""
ANY_NUMBER: Limit = (-1e12, 1e12, "single precision cannot compute with larger numbers for long")
"""For a hyper-parameter whose method declares no limit."""


def outside(value: object, limit: Limit) -> str | None:
    """Say why a value is out of its range; None where it is inside, or is no number."""
    low, high, reason = limit
    if isinstance(value, bool) or not isinstance(value, int | float) or low <= value <= high:
        return None
    return f"must lie between {low:g} and {high:g}: {reason}"


def within(low: float, high: float, reason: str) -> AfterValidator:
    """Make the check of a field of a pydantic model, for ``Annotated``."""

    def check(value: Any) -> Any:
        if wrong := outside(value, (low, high, reason)):
            raise ValueError(wrong)
        return value

    return AfterValidator(check)
