"""Figures inside a page: their specs, the script that draws them, and no request to anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ssbench.report.figures.chart import Figure, theme
from ssbench.report.figures.export import script

_POINTED = {kind: {"cursor": "pointer"} for kind in ("point", "line", "rect", "area")}
"""A mark opens its runs, and looks like it."""


class Charts(NamedTuple):
    """What a page needs to draw figures: two JSON texts and a script, safe inside <script>."""

    specs: Markup
    themes: Markup
    script: Markup


def charts(figures: Sequence[Figure]) -> Charts | None:
    """Return what draws some figures, each by its stem; None for no figures."""
    if not figures:
        return None
    specs = {figure.stem: figure.spec for figure in figures}
    themes = {name: theme(dark=name == "dark") | _POINTED for name in ("light", "dark")}
    return Charts(as_json(specs), as_json(themes), _safe(script()))


def as_json(value: object) -> Markup:
    """JSON in which nothing can end the element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 -- no tag can begin in it


def _safe(code: str) -> Markup:
    """A script in which no text ends the element; the backslash means nothing in a string."""
    return Markup(code.replace("</script", "<\\/script"))  # noqa: S704 -- the library's own
