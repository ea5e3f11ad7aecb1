"""Columns of numbers for LaTeX's siunitx, aligned at the decimal point."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ssbench.report import text

_NUMBER = re.compile(r"(\d+)\.(\d+)(?: ± (\d+)\.(\d+))?")


def column(cells: Sequence[str]) -> str:
    """Return a column's specification: S, with room for all its numbers, or r without a number.

    Args:
        cells: as other formats print them. Numbers are those with a decimal point, alone or with
            a ± and another one behind.
    """
    found = [match.groups() for cell in cells if (match := _NUMBER.fullmatch(cell))]
    if not found:
        return "r"
    whole, places = (max(len(parts[i]) for parts in found) for i in (0, 1))
    # siunitx counts the digits of an uncertainty from the first that is not 0: 1.27(12).
    digits = max(len(f"{sd or ''}{after or ''}".lstrip("0")) for _, _, sd, after in found)
    uncertain = f"({digits})" if digits else ""
    return f"S[table-format={whole}.{places}{uncertain}]"


def cell(content: str, kind: str, font: str = "") -> str:
    """Return a cell of a column.

    Args:
        content: as other formats print it.
        kind: the column's specification.
        font: a command that sets the font, or nothing.
    """
    if kind != "r" and _NUMBER.fullmatch(content):
        return f"{font} {content.replace('±', '+-')}".strip()
    # Braces keep siunitx from reading the cell, and hold the font in.
    return f"{{{font} {text.tex(content)}}}" if font else f"{{{text.tex(content)}}}"
