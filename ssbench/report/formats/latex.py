"""Write text and columns of numbers as LaTeX for pdflatex with a report's packages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from markupsafe import Markup

_NUMBER = re.compile(r"(\d+)\.(\d+)(?: ± (\d+)\.(\d+))?")


def column(cells: Sequence[str]) -> str:
    """Return a column's specification: S with room for all its numbers, or r if it has none.

    Args:
        cells: as other formats print them. Numbers have a decimal point, and may be followed by ±
            and another such number.
    """
    numbers = [match.groups() for cell in cells if (match := _NUMBER.fullmatch(cell))]
    if not numbers:
        return "r"
    whole, places = (max(len(parts[i]) for parts in numbers) for i in (0, 1))
    # siunitx counts the digits of an uncertainty from the first that is not 0: 1.27(12).
    digits = max(len(f"{sd or ''}{after or ''}".lstrip("0")) for _, _, sd, after in numbers)
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
    return f"{{{font} {tex(content)}}}" if font else f"{{{tex(content)}}}"


_ASCII = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "[": "{[}", "]": "{]}", "`": r"\textasciigrave{}",
}  # fmt: skip
_SIGNS = {
    "±": r"$\pm$", "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{MINUS SIGN}": "$-$",
    "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\rightarrow$", "·": r"$\cdot$", "∞": r"$\infty$",
    "\N{NO-BREAK SPACE}": "~", "\N{LEFT SINGLE QUOTATION MARK}": "\\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "\\textquoteright{}", "“": "\\textquotedblleft{}",
    "”": "\\textquotedblright{}",
}  # fmt: skip
_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi",
    "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi",
    "Omega",
)  # fmt: skip
_LETTERS = {
    unicodedata.lookup(
        f"GREEK {'CAPITAL' if name[0].isupper() else 'SMALL'} LETTER "
        f"{'LAMDA' if name.lower() == 'lambda' else name.upper()}"
    ): rf"$\{name}$"
    for name in _GREEK
}
_KNOWN = _ASCII | _SIGNS | _LETTERS | {"\N{MICRO SIGN}": r"$\mu$"}
_ACCENTED = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""What every font has; other letters lose their accents."""


def character(char: str) -> str:
    """Return LaTeX for a character; one that no usual font has is named by its number."""
    if char in _KNOWN:
        return _KNOWN[char]
    if char.isspace() or unicodedata.category(char).startswith("C"):
        return " "
    if char.isascii() or char in _ACCENTED:
        return char
    plain = "".join(c for c in unicodedata.normalize("NFKD", char) if c.isascii())
    return plain if plain.isalnum() else f"(U+{ord(char):04X})"


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
