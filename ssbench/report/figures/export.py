"""Render a figure's spec as SVG, PNG or PDF, without a browser."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ssbench.report.figures.chart import theme

KINDS = ("svg", "png", "pdf")
_PAPER = {"light": "#ffffff", "dark": "#15171a"}
_PIXELS = 2.0
"""Pixels of a PNG per pixel of the spec."""


def convert(spec: dict[str, Any], kind: str, *, dark: bool = False) -> bytes:
    """Render a spec.

    Args:
        spec: Vega-Lite, see `ssbench.report.figures.Figure`.
        kind: one of `KINDS`. A PNG has a background, SVG and PDF have none.
        dark: for a dark page; papers and Markdown use the light theme.

    Returns:
        The content of a file; the same spec gives the same bytes.
    """
    # Loads a JavaScript engine, which tables do not need.
    import vl_convert

    spec, config = _writable(spec), theme(dark=dark)
    if kind == "svg":
        return _renumbered(vl_convert.vegalite_to_svg(spec, config=config)).encode()
    if kind == "pdf":
        return _in_order(bytes(vl_convert.vegalite_to_pdf(spec, config=config)))
    config["background"] = _PAPER["dark" if dark else "light"]
    return bytes(vl_convert.vegalite_to_png(spec, config=config, scale=_PIXELS))


_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML forbids; the library kills the process when it meets one."""


def _writable(part: Any) -> Any:
    """Replace characters that no file can hold."""
    if isinstance(part, str):
        return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", part)
    if isinstance(part, dict):
        return {_writable(key): _writable(value) for key, value in part.items()}
    return [_writable(item) for item in part] if isinstance(part, list) else part


_ENTRIES = re.compile(rb"<<\n((?: *\S+ \d+ 0 R\n)+)")
"""A dictionary's references to other objects, one per line."""


def _in_order(pdf: bytes) -> bytes:
    """Sort the entries of a PDF's dictionaries, whose order varies from run to run.

    The length stays the same, so the file's table of offsets stays valid.
    """

    def ordered(found: re.Match[bytes]) -> bytes:
        return b"<<\n" + b"".join(sorted(found[1].splitlines(keepends=True)))

    return _ENTRIES.sub(ordered, pdf)


def _renumbered(svg: str) -> str:
    """Number the gradients of an SVG from 0; the library counts on from earlier drawings."""
    names = list(dict.fromkeys(re.findall(r"gradient_\d+", svg)))
    return re.sub(r"gradient_\d+", lambda found: f"gradient-{names.index(found[0])}", svg)


@cache
def script() -> str:
    """Return the complete JavaScript that draws specs in a page without network requests."""
    import vl_convert

    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]
