"""Numbers as text, and text made safe for each format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssbench.analysis.rows import Asked, Spread

ABSENT = "\N{EN DASH}"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float | None) -> str:
    """Write a count with three significant digits: 512, 16.4k, 14.7M."""
    if value is None:
        return ABSENT
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{max(0, 2 - _magnitude(scaled))}f}{prefix}"
    return f"{value:.0f}"


def _magnitude(scaled: float) -> int:
    """Return the digits before the point, less one, after rounding to three digits."""
    return len(f"{float(f'{scaled:.3g}'):.0f}") - 1


def percent(share: float | None) -> str:
    """Write a share in percent with one decimal, more if it would read as 0 or 100."""
    if share is None:
        return ABSENT
    value = 100 * share
    for digits in range(1, 6):
        text = f"{value:.{digits}f}"
        if float(text) not in (0.0, 100.0) or value in (0.0, 100.0):
            return text
    return text


def asked(share: Asked, unit: str | None) -> str:
    """Write a budget: '5 % of connections', 'own threshold', '100 %' for the dense network."""
    if share is None:
        return "100 %"
    if share == "own":
        return "own threshold"
    noun = "MACs" if unit == "macs" else f"{unit}"
    return f"{100 * share:.4g} % of {noun}"


def error(spread: Spread | None) -> str:
    """Write an error in percent, with its standard deviation if there is one."""
    if spread is None:
        return ABSENT
    deviation = "" if spread.sd is None else f" ± {spread.sd:.2f}"
    return f"{spread.mean:.2f}{deviation}"


def fixed(value: float | None) -> str:
    """Write a published error unrounded, in percent with at least two decimals."""
    if value is None:
        return ABSENT
    return f"{value:.2f}" if round(value, 2) == value else str(value)


def number(value: float | None) -> str:
    """Write a number with three significant digits."""
    return ABSENT if value is None else f"{value:.3g}"


def listing(items: list[str]) -> str:
    """Join words: 'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def written(parameters: Mapping[str, Any]) -> str:
    """Write chosen values in one line: ``lambda=0.00316, gate_lr=10``."""
    words = [
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in parameters.items()
    ]
    return ", ".join(words)
