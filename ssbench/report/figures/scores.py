"""The scores that methods prune by, and where each budget's threshold cuts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from ssbench.report.figures.chart import asked, finish, ticks, tooltip, values
from ssbench.report.figures.looks import Looks
from ssbench.report.nested import Histogram
from ssbench.report.records import Record
from ssbench.report.rows import Row

WIDTH, HEIGHT = 250, 130
_RIGHT = 0.93
"""Thresholds further right than this have their names at the left."""


def score_histograms(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw each method's scores at the first seed, with the threshold of every budget.

    A budget's threshold is drawn where the scores were the same ones, as those of a method that
    prunes once are. Otherwise the largest budget's stands alone.

    Returns:
        A spec; None where no record has a histogram.
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
    assert scores is not None  # noqa: S101 -- the caller has looked
    same = [(row, record) for row, record in found if record.score_histogram == scores]
    cuts = [
        {
            "place": 6 + 11 * number,
            "right": _at(record.threshold, scores) > _RIGHT,
            "threshold": record.threshold,
            "kept": _kept(row),
            "method": name,
            "budget": asked(row),
        }
        for number, (row, record) in enumerate(same)
        if record.threshold is not None and scores.low <= record.threshold <= scores.high
    ]
    scale = alt.Scale(type="log" if scores.scale == "log" else "linear",
                      domain=[scores.low, scores.high], nice=False)  # fmt: skip
    noun = f"score{', log scale' if scores.scale == 'log' else ''}"
    axis = alt.Axis(tickCount=5, format="~g")
    if scores.scale == "log":
        axis = alt.Axis(values=ticks(scores.low, scores.high), format=".0e")
    first = {"method": name, "budget": asked(found[0][0])}
    bars = alt.Chart(values(bar | first for bar in _bins(scores))).mark_rect(
        color=looks.colours[name], opacity=0.75
    )
    rules = alt.Chart(values(cuts))
    x = alt.X("from:Q", title=noun, scale=scale, axis=axis)
    below = f"; {scores.below:,} further left" if scores.below else ""
    return alt.layer(
        bars.encode(
            x, alt.X2("to:Q"), alt.Y("count:Q", title="units"), alt.Y2Datum(0),
            tooltip=tooltip(("from:Q", "score from"), ("to:Q", "to"), ("count:Q", "units")),
        ),
        rules.mark_rule(strokeWidth=1.1).encode(
            alt.X("threshold:Q", scale=scale),
            tooltip=tooltip(("kept:N", "kept"), ("threshold:Q", "threshold")),
        ),
        _names([cut for cut in cuts if not cut["right"]], scale, "left"),
        _names([cut for cut in cuts if cut["right"]], scale, "right"),
    ).properties(
        width=WIDTH, height=HEIGHT,
        title=alt.Title(name, subtitle=f"{_units(scores):,} units{below}"),
    )  # fmt: skip


def _names(cuts: Sequence[dict[str, Any]], scale: Any, side: Literal["left", "right"]) -> Any:
    """The kept shares beside their thresholds, each a line lower than the one before."""
    import altair as alt

    marks = alt.Chart(values(cuts)).mark_text(
        align=side, dx=3 if side == "left" else -3, fontSize=9
    )
    return marks.encode(
        alt.X("threshold:Q", scale=scale), alt.Y("place:Q", scale=None, axis=None), text="kept:N"
    )


def _at(score: float, scores: Histogram) -> float:
    """Where a score stands between the ends of the axis, from 0 to 1."""
    if scores.scale == "log":
        return math.log(score / scores.low) / math.log(scores.high / scores.low)
    return (score - scores.low) / ((scores.high - scores.low) or 1.0)


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
