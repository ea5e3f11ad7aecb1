"""Embed figures in a page with the script that draws them, without network requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ssbench.report.figures.chart import Figure, theme
from ssbench.report.figures.export import script

_POINTED = {kind: {"cursor": "pointer"} for kind in ("point", "line", "rect", "area")}
"""Marks open their runs on a click, so they get a pointer cursor."""


class Charts(NamedTuple):
    """Two JSON texts and a script that draw a page's figures, safe inside <script>."""

    specs: Markup
    themes: Markup
    script: Markup


def charts(figures: Sequence[Figure]) -> Charts | None:
    """Return what a page needs to draw these figures, by stem; None without figures."""
    if not figures:
        return None
    specs = {figure.stem: figure.spec for figure in figures}
    themes = {name: theme(dark=name == "dark") | _POINTED for name in ("light", "dark")}
    return Charts(as_json(specs), as_json(themes), _safe(script()))


def as_json(value: object) -> Markup:
    """Write JSON that cannot end the <script> element around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 -- no tag can begin in it


def _safe(code: str) -> Markup:
    """Escape a script's own '</script'; in a string the added backslash has no effect."""
    return Markup(code.replace("</script", "<\\/script"))  # noqa: S704 -- the library's own
