"""Escape text for Markdown and LaTeX, and make file names of any text."""

from __future__ import annotations

import re

from markupsafe import Markup

from ssbench.report.formats.latex import character


def slug(text: str) -> str:
    """Make a part of a file name, identifier or LaTeX label of any text.

    Only letters, digits and hyphens stay: LaTeX takes a dot for the start of the file's kind.
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "unnamed"


_MARKDOWN = set(r"\`*_[]<>#|~&$")


_MINUS = re.compile(r"(?<![^\s(])-(?=\d)")


def tex(value: object) -> str:
    """Escape a value for LaTeX text, unless it is `Markup`."""
    if isinstance(value, Markup):
        return str(value)
    text = "" if value is None else str(value)
    # A hyphen before a number is a minus; two of them would become a dash.
    text = _MINUS.sub("\N{MINUS SIGN}", text)
    pairs = zip(f" {text}", text, strict=False)
    found = ("{}-" if before == c == "-" else character(c) for before, c in pairs)
    return "".join(found).replace(r" \%", r"~\%")


def markdown(value: object) -> str:
    """Escape a value for one line of Markdown text or a table's cell, unless it is `Markup`."""
    if isinstance(value, Markup):
        return str(value)
    text = "" if value is None else " ".join(str(value).split("\n"))
    return "".join("\\" + c if c in _MARKDOWN else c for c in text)
