"""A figure's spec -> SVG, PNG or PDF for a paper, without a browser."""

from __future__ import annotations

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

    config = theme(dark=dark)
    if kind == "svg":
        return vl_convert.vegalite_to_svg(spec, config=config).encode()
    if kind == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(spec, config=config))
    config["background"] = _PAPER["dark" if dark else "light"]
    return bytes(vl_convert.vegalite_to_png(spec, config=config, scale=_PIXELS))


def script() -> str:
    """Return the JavaScript that draws specs in a page, whole: it asks the network for nothing."""
    import vl_convert

    return str(vl_convert.javascript_bundle())  # type: ignore[call-arg]
