"""Escape text for Markdown, and turn any text into a file name."""

from __future__ import annotations

import re

from markupsafe import Markup


def slug(text: str) -> str:
    """Turn any text into a part of a file name, identifier or LaTeX label.

    Keeps only letters, digits and hyphens: LaTeX takes a dot for the start of a file extension.
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "unnamed"


_MARKDOWN = set(r"\`*_[]<>#|~&$")


def markdown(value: object) -> str:
    """Escape a value for one line of Markdown text or a table cell, unless it is `Markup`."""
    if isinstance(value, Markup):
        return str(value)
    text = "" if value is None else " ".join(str(value).split("\n"))
    return "".join("\\" + c if c in _MARKDOWN else c for c in text)
