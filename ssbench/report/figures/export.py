"""A figure's spec -> SVG, PNG or PDF for a paper, without a browser."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ssbench.report.figures.chart import theme

KINDS = ("svg", "png", "pdf")
_PAPER = {"light": "#ffffff", "dark": "#15171a"}
_PIXELS = 2.0
"""Pixels of a PNG for each of the spec."""


def convert(spec: dict[str, Any], kind: str, *, dark: bool = False) -> bytes:
    """Render a spec.

    Args:
        spec: Vega-Lite, as `ssbench.report.figures.Figure` has it.
        kind: one of `KINDS`. A PNG has a background, SVG and PDF have none.
        dark: for a dark page; papers and Markdown get the light one.

    Returns:
        The content of a file; the same spec gives the same bytes.
    """
    # Brings a whole browser engine's script interpreter with it, which no table needs.
    import vl_convert

    spec, config = _writable(spec), theme(dark=dark)
    if kind == "svg":
        return _counted_anew(vl_convert.vegalite_to_svg(spec, config=config)).encode()
    if kind == "pdf":
        return _in_order(bytes(vl_convert.vegalite_to_pdf(spec, config=config)))
    config["background"] = _PAPER["dark" if dark else "light"]
    return bytes(vl_convert.vegalite_to_png(spec, config=config, scale=_PIXELS))


_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML has no place for: the library ends the whole process at one of them."""


def _writable(part: Any) -> Any:
    """The same spec with a mark in the place of each character that no file can hold."""
    if isinstance(part, str):
        return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", part)
    if isinstance(part, dict):
        return {_writable(key): _writable(value) for key, value in part.items()}
    return [_writable(item) for item in part] if isinstance(part, list) else part


_ENTRIES = re.compile(rb"<<\n((?: *\S+ \d+ 0 R\n)+)")
"""A dictionary's entries that refer to other objects, a line each."""


def _in_order(pdf: bytes) -> bytes:
    """Sort the entries of a PDF's dictionaries, which come in another order each time.

    No byte is added or taken, so the file's table of offsets stays true.
    """

    def ordered(found: re.Match[bytes]) -> bytes:
        return b"<<\n" + b"".join(sorted(found[1].splitlines(keepends=True)))

    return _ENTRIES.sub(ordered, pdf)


def _counted_anew(svg: str) -> str:
    """Number the gradients of an SVG from 0: they are counted through all that were drawn."""
    names = list(dict.fromkeys(re.findall(r"gradient_\d+", svg)))
    return re.sub(r"gradient_\d+", lambda found: f"gradient-{names.index(found[0])}", svg)


@cache
def script() -> str:
    """Return the JavaScript that draws specs in a page, whole: it asks the network for nothing."""
    import vl_convert

    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]
