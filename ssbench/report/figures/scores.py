"""Draw the scores that methods prune by, with each budget's threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ssbench.analysis.rows import Row
from ssbench.report.figures.chart import asked, finish, ticks, tooltip, values
from ssbench.report.figures.style import Looks
from ssbench.storage.schema import Histogram, Record

WIDTH, HEIGHT, LINE = 230, 120, 11
"""Pixels of the bars, and of a line of text above them."""
_UNITS = {"weight": "weights", "connection": "connections", "filter": "filters"}
"""What each grain scores."""


def score_histograms(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw each method's scores at the first seed, with the budgets' thresholds.

    Draws the scores of the first row, and the thresholds of all budgets with the same scores: all
    of them if the method prunes once.

    Returns:
        A spec; None if no record has a histogram.
    """
    import altair as alt

    panels = []
    for name in looks.only([row.name for row in rows]):
        found = [(row, record) for row in rows if row.name == name if (record := _pruned(row))]
        if found and found[0][1].score_histogram and found[0][1].score_histogram.counts:
            panels.append(_panel(name, found, looks))
    return finish(alt.concat(*panels, columns=3)) if panels else None


def _pruned(row: Row) -> Record | None:
    record = row.done[0].pruned if row.done else None
    return record if record and record.score_histogram else None


def _panel(name: str, found: Sequence[tuple[Row, Record]], looks: Looks) -> Any:
    import altair as alt

    scores = found[0][1].score_histogram
    assert scores is not None  # the caller checked
    same = [(row, record) for row, record in found if record.score_histogram == scores]
    cuts: list[dict[str, Any]] = [
        {
            "threshold": record.threshold,
            "kept": _kept(row),
            "method": name,
            "budget": asked(row),
        }
        for row, record in same
        if record.threshold is not None and scores.low <= record.threshold <= scores.high
    ]
    # Each label is one line lower than the one to its left, and its threshold's line ends below
    # it, so that no line crosses another label.
    cuts.sort(key=lambda cut: cut["threshold"])
    for number, cut in enumerate(cuts):
        cut["place"] = LINE * (number + 0.5)
    top = LINE * len(cuts) + 4
    noun = _UNITS.get(found[0][0].like.grain, "units")
    scale = alt.Scale(type="log" if scores.scale == "log" else "linear",
                      domain=[scores.low, scores.high], nice=False)  # fmt: skip
    title = f"score{', log scale' if scores.scale == 'log' else ''}"
    axis = alt.Axis(tickCount=5, format="~g", grid=False)
    if scores.scale == "log":
        axis = alt.Axis(values=_decades(scores), format="~e", grid=False)
    first = {"method": name, "budget": asked(found[0][0])}
    bars = alt.Chart(values(bar | first for bar in _bins(scores))).mark_rect(
        color=looks.colours[name], opacity=0.75
    )
    rules = alt.Chart(values(cuts))
    x = alt.X("from:Q", title=title, scale=scale, axis=axis)
    y = alt.Y("count:Q", title=noun, scale=alt.Scale(range=[top + HEIGHT, top]))
    below = f"; {scores.below:,} further left" if scores.below else ""
    return alt.layer(
        bars.encode(
            x, alt.X2("to:Q"), y, alt.Y2Datum(0),
            tooltip=tooltip(("from:Q", "score from"), ("to:Q", "to"), ("count:Q", noun)),
        ),
        rules.mark_rule(strokeWidth=1.1).encode(
            alt.X("threshold:Q", scale=scale),
            alt.Y("place:Q", scale=None, axis=None), y2=alt.value(top + HEIGHT),
            tooltip=tooltip(("kept:N", "kept"), ("threshold:Q", "threshold")),
        ),
        rules.mark_text(align="left", dx=3, fontSize=9).encode(
            alt.X("threshold:Q", scale=scale),
            alt.Y("place:Q", scale=None, axis=None), text="kept:N",
        ),
    ).properties(
        width=WIDTH, height=top + HEIGHT,
        title=alt.Title(name, subtitle=f"{_units(scores):,} {noun}{below}"),
    )  # fmt: skip


def _decades(scores: Histogram) -> list[float]:
    """Return powers of ten, few enough for all to have room."""
    decades = [tick for tick in ticks(scores.low, scores.high) if math.log10(tick).is_integer()]
    return decades[:: 1 + len(decades) // 6] or ticks(scores.low, scores.high)


def _units(scores: Histogram) -> int:
    return sum(scores.counts) + scores.below


def _kept(row: Row) -> str:
    asked = row.budget[0]
    return "own" if asked == "own" or asked is None else f"{100 * asked:.4g} %"


def _bins(scores: Histogram) -> list[dict[str, Any]]:
    count = len(scores.counts)
    if scores.scale == "log":
        ratio = (scores.high / scores.low) ** (1 / count)
        edges = [scores.low * ratio**number for number in range(count + 1)]
    else:
        width = (scores.high - scores.low) / count
        edges = [scores.low + width * number for number in range(count + 1)]
    return [
        {"from": left, "to": right, "count": height}
        for left, right, height in zip(edges, edges[1:], scores.counts, strict=False)
        if height
    ]
