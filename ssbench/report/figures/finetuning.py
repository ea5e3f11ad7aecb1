"""Compare criteria before and after finetuning: does it compensate a worse choice?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssbench.analysis.rows import Row, Spread
from ssbench.report.figures.chart import (
    Point,
    asked,
    bars,
    chosen,
    error_across,
    error_axis,
    finish,
    floor,
    picked,
    share_axis,
    tooltip,
    values,
)
from ssbench.report.figures.style import Looks

WIDTH, HEIGHT = 390, 230
LINE_WIDTH, STEP = 270, 22
_SIDES = ("before finetuning", "after finetuning")


def before_and_after(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw test error against the requested share, before and after finetuning.

    With a single share, each method gets a line of its own.

    Returns:
        A spec; None if no row was measured before finetuning.
    """
    import altair as alt

    shares = [row for row in rows if row.done and isinstance(row.budget[0], float | int)]
    low = floor(shares)
    before = [_point(row, row.before("test_top1_error"), low) for row in shares]
    after = [_point(row, row.spread("test_top1_error"), low) for row in shares]
    sides = [[point for point in side if point] for side in (before, after)]
    if not sides[0]:
        return None
    every = [point for side in sides for point in side]
    names = list(dict.fromkeys(point["method"] for point in every))
    one = len({point["share"] for point in every}) == 1
    panels = [
        (_line_panel if one else _panel)(title, points, every, names, looks)
        for title, points in zip(_SIDES, sides, strict=True)
    ]
    if one:
        return finish(alt.hconcat(*panels).resolve_scale(color="independent", shape="independent"))
    panels[0].layer[0] = panels[0].layer[0].add_params(picked())
    return finish(alt.hconcat(*panels).resolve_scale(color="shared", shape="shared"))


def _point(row: Row, error: Spread | None, low: float) -> dict[str, Any] | None:
    share = row.budget[0]
    if error is None or not isinstance(share, float | int):
        return None
    sd = error.sd or 0.0
    return {
        "method": row.name, "budget": asked(row), "share": 100 * share,
        "error": max(low, error.mean), "error_low": max(low, error.mean - sd),
        "error_high": min(100.0, max(low, error.mean + sd)),
        "said": f"{error.mean:.2f} %" + ("" if error.sd is None else f" ± {error.sd:.2f}"),
    }  # fmt: skip


def _panel(
    title: str, points: list[dict[str, Any]], every: Sequence[Point], names: list[str], looks: Looks
) -> Any:
    import altair as alt

    x = share_axis([p["share"] for p in every], "kept (% of the budget's unit)", field="share")
    y = error_axis(every)
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("said:N", "test error"))
    chart = alt.Chart(values(points))
    colour = looks.colour(names)
    return alt.layer(
        chart.mark_area(opacity=0.13).encode(
            x, alt.Y("error_low:Q"), alt.Y2("error_high:Q"), colour
        ),
        chart.mark_line(strokeWidth=1.6).encode(x, y, colour, looks.dash(names), opacity=chosen()),
        *bars(points, x, colour, shown),
        chart.mark_point(filled=True, size=48).encode(
            x, y, colour, looks.shape(names), opacity=chosen(), tooltip=shown
        ),
    ).properties(width=WIDTH, height=HEIGHT, title=title)  # fmt: skip


def _line_panel(
    title: str, points: list[dict[str, Any]], every: Sequence[Point], names: list[str], looks: Looks
) -> Any:
    import altair as alt

    x = error_across(every)
    axis = alt.Axis(labelLimit=0, ticks=False, grid=True)
    y = alt.Y("method:N", sort=looks.only(names), title=None, axis=axis)
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("said:N", "test error"))
    chart = alt.Chart(values(points))
    colour, shape = looks.colour(names, legend=None), looks.shape(names, legend=None)
    return alt.layer(
        chart.mark_point(filled=True, size=56, opacity=1).encode(
            x, y, colour, shape, tooltip=shown
        ),
        chart.mark_rule(strokeWidth=1.2).encode(
            alt.X("error_low:Q"), y, colour, x2=alt.X2("error_high:Q"), tooltip=shown
        ),
    ).properties(
        width=LINE_WIDTH, height=STEP * len(names), title=f"{title}, {points[0]['budget']}"
    )
