"""The parts, axes and themes that all figures share."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssbench.analysis.rows import Row

if TYPE_CHECKING:
    import altair as alt

Point = Mapping[str, Any]
"""One datum of a figure: plain JSON values."""
UNITS = {"params": "params", "connections": "connections", "macs": "MACs"}
_FONT = "system-ui, 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True)
class Figure:
    """A figure as data.

    Attributes:
        stem: the name of its files, without extension.
        title: a few words.
        caption: says what is shown, in which units, for which network and data set.
        spec: Vega-Lite with all its data, without colours of text and background.
    """

    stem: str
    title: str
    caption: str
    spec: dict[str, Any]


def theme(*, dark: bool) -> dict[str, Any]:
    """Return the Vega-Lite configuration for a light or a dark page.

    Uses one weight of one font: with two, the bytes of a PDF differ from run to run.
    """
    ink, dim, grid = (
        ("#e4e6e8", "#a0a6ac", "#363b41") if dark else ("#1a1b1c", "#5c6166", "#dfe2e5")
    )
    return {
        "background": None,
        "font": _FONT,
        "axis": {
            "labelColor": ink, "titleColor": ink, "domainColor": dim, "tickColor": dim,
            "gridColor": grid, "labelFontSize": 11, "titleFontSize": 12,
            "titleFontWeight": "normal", "titlePadding": 6,
            "labelOverlap": "greedy", "labelSeparation": 5, "gridWidth": 0.7,
        },
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 11,
                   "titleFontWeight": "normal", "symbolStrokeWidth": 1.5},
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 13,
                   "labelFontWeight": "normal"},
        "title": {"color": ink, "fontSize": 13, "fontWeight": "normal", "anchor": "start",
                  "subtitleColor": dim, "subtitleFontSize": 10},
        "text": {"color": ink, "fontSize": 11, "font": _FONT},
        "rule": {"color": dim},
        "view": {"stroke": None},
        "concat": {"spacing": 28},
    }  # fmt: skip


def finish(chart: Any) -> dict[str, Any]:
    """Return a chart's spec with each data set in it once, so that nothing is fetched."""
    # Tests validate every figure against Vega-Lite's schema; here it would take seconds.
    spec: dict[str, Any] = chart.to_dict(validate=False)
    # Altair's default theme would override the page's.
    spec.pop("config", None)
    datasets: dict[str, str] = {}
    spec = _short_names(spec, datasets)
    return spec | {"datasets": {name: json.loads(text) for text, name in datasets.items()}}


def _short_names(part: Any, datasets: dict[str, str]) -> Any:
    """Replace each data set in a name's place with a short name, and collect the sets."""
    if isinstance(part, dict):
        return {
            key: {"name": datasets.setdefault(value["name"], f"data-{len(datasets)}")}
            if key == "data"
            else _short_names(value, datasets)
            for key, value in part.items()
        }
    return [_short_names(item, datasets) for item in part] if isinstance(part, list) else part


def values(points: Iterable[Point]) -> alt.NamedData:
    """Return data for a chart.

    Altair deep-copies a chart with all its data whenever it is combined. So the data are passed as
    JSON text in the name field until `finish` puts each set into the spec once.
    """
    import altair as alt

    return alt.NamedData(name=json.dumps([dict(point) for point in points], sort_keys=True))


def floor(rows: Sequence[Row]) -> float:
    """Return half a test image in percent: the place of a zero error on a logarithmic axis."""
    return max((row.resolution for row in rows), default=0.0) / 2 or 0.01


def error_point(row: Row, low: float) -> dict[str, Any]:
    """Return a row's test error in percent for a logarithmic axis, with its spread and label."""
    error = row.spread("test_top1_error")
    assert error is not None  # a finished run has a test error
    sd = error.sd or 0.0
    return {
        "method": row.name,
        "error": max(low, error.mean),
        "error_low": max(low, error.mean - sd),
        "error_high": min(100.0, max(low, error.mean + sd)),
        "said": f"{error.mean:.2f} %" + ("" if error.sd is None else f" ± {error.sd:.2f}"),
        "n": error.n,
        "budget": asked(row),
    }


def asked(row: Row) -> str:
    """Write a row's budget for a tooltip."""
    from_text, unit = row.budget
    if from_text is None:
        return "dense"
    if from_text == "own":
        return "the method's own threshold"
    return f"{100 * from_text:.4g} % of {UNITS.get(unit or '', unit)}"


def error_axis(points: Sequence[Point], title: str = "test error (%)") -> alt.Y:
    """Return the axis of errors: logarithmic if they span a factor of eight."""
    import altair as alt

    scale, axis, suffix = _error_scale(points)
    return alt.Y("error:Q", title=f"{title}{suffix}", scale=scale, axis=axis)


def error_across(points: Sequence[Point], title: str = "test error (%)") -> alt.X:
    """Return the same axis, horizontal."""
    import altair as alt

    scale, axis, suffix = _error_scale(points)
    return alt.X("error:Q", title=f"{title}{suffix}", scale=scale, axis=axis)


def _error_scale(points: Sequence[Point]) -> tuple[alt.Scale, alt.Axis, str]:
    """Return an error axis' scale and ticks, and the suffix of its title."""
    import altair as alt

    errors = [float(point["error"]) for point in points]
    lows = [float(point.get("error_low", point["error"])) for point in points]
    highs = [float(point.get("error_high", point["error"])) for point in points]
    if max(errors) < 8 * min(errors):
        margin = 0.06 * (max(highs) - min(lows)) or 0.1
        domain = [max(0.0, min(lows) - margin), max(highs) + margin]
        return alt.Scale(domain=domain, nice=False), alt.Axis(), ""
    low, high = min(lows) / 1.15, min(110.0, max(highs) * 1.15)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return scale, alt.Axis(values=ticks(low, high), format="~g"), ", log scale"


def ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis.

    1, 2 and 5 times the powers of ten; only the powers if these are too many.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1,) if len(decades) > 5 else (1, 2, 5)
    candidates = [digit * 10.0**power for power in decades for digit in digits]
    return [tick for tick in candidates if low <= tick <= high]


FEW_PLACES = 8
"""Up to this many distinct shares become the ticks of their axis."""


def log_axis(places: Sequence[float], title: str, *, field: str, falls: bool = False) -> alt.X:
    """Return a logarithmic horizontal axis of sizes or shares.

    Args:
        places: all drawn values, above 0.
        title: includes the unit.
        field: the data's field.
        falls: whether large values are at the left.
    """
    import altair as alt

    low, high = min(places) / 1.15, max(places) * 1.15
    scale = alt.Scale(type="log", domain=[low, high], nice=False, reverse=falls)
    axis = alt.Axis(values=ticks(low, high), format="~s" if high > 1000 else "~g")
    return alt.X(f"{field}:Q", title=title, scale=scale, axis=axis)


def share_axis(places: Sequence[float], title: str, *, field: str) -> alt.X:
    """Return a logarithmic horizontal axis of requested shares, large ones at the left.

    Args:
        places: all drawn shares, in percent; up to `FEW_PLACES` of them become the ticks.
        title: includes the unit.
        field: the data's field.
    """
    import altair as alt

    x = log_axis(places, title, field=field, falls=True)
    own = sorted(set(places), reverse=True)
    return x.axis(alt.Axis(values=own, format=".4~g")) if len(own) <= FEW_PLACES else x


def bars(
    points: Sequence[Point], x: alt.X, colour: alt.Color, shown: list[alt.Tooltip]
) -> list[Any]:
    """Return a layer of bars for points without a line; an empty list if there are none.

    These are a method's only point, and points with ``own`` set; all others have bands.
    """
    import altair as alt

    counts = Counter(point["method"] for point in points if not point.get("own"))
    single = [point for point in points if point.get("own") or counts[point["method"]] == 1]
    if not single:
        return []  # a screen reader would announce an empty layer
    rule = alt.Chart(values(single)).mark_rule(strokeWidth=1)
    low, high = alt.Y("error_low:Q"), alt.Y2("error_high:Q")
    return [rule.encode(x, low, high, colour, opacity=chosen(), tooltip=shown)]


def tooltip(*fields: tuple[str, str]) -> list[alt.Tooltip]:
    """Return a tooltip of (field, title); a field ends in its type, as in 'n:Q'."""
    import altair as alt

    return [
        alt.Tooltip(field, title=title, format=".4~g" if field.endswith(":Q") else "")
        for field, title in fields
    ]


_PICKED = "picked"


def picked() -> alt.Parameter:
    """Return the parameter that selects methods by a click on the legend; add it to one layer."""
    import altair as alt

    return alt.selection_point(name=_PICKED, fields=["method"], bind="legend")


def chosen() -> dict[str, Any]:
    """Return the opacity that fades all methods except those picked in the legend."""
    return {"condition": {"param": _PICKED, "value": 1}, "value": 0.12}
