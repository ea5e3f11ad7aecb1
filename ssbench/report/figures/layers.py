"""Draw where a method prunes: the kept share of each layer, and which layers died."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssbench.analysis import stats
from ssbench.analysis.dead_layers import layers_in_order
from ssbench.analysis.mask_overlap import by_share
from ssbench.analysis.rows import Row
from ssbench.report.figures.chart import (
    Point,
    asked,
    chosen,
    finish,
    picked,
    ticks,
    tooltip,
    values,
)
from ssbench.report.figures.style import Looks

HEIGHT = 170
_TITLE = "weights kept (%), log scale"
ROOM, NARROWEST = 1240, 210
"""Maximum width in pixels of panels side by side, and minimum width of one."""


def kept_by_layer(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw the share of weights that each layer keeps, a panel for each requested share.

    Layers without a weight are crosses at the bottom of a panel.

    Returns:
        A spec; None if no row has kept shares of layers.
    """
    import altair as alt

    points = _points(rows)
    if not points:
        return None
    order = layers_in_order(rows)
    low = min((point["kept"] for point in points if point["kept"] > 0), default=1.0) / 2
    names = list(dict.fromkeys(point["method"] for point in points))
    panels = []
    for title, group in by_share(rows):
        own = {row.name for row in group}
        share = {row.budget for row in group}
        here = [p for p in points if p["method"] in own and p["key"] in {str(b) for b in share}]
        if here:
            panels.append(_panel(title, here, order, low, names, looks))
    panels[0].layer[0] = panels[0].layer[0].add_params(picked())
    columns = max(1, ROOM // (_width(order) + 70))  # 70: the title and labels of the axis
    grid = alt.concat(*panels, columns=columns).resolve_scale(color="shared", shape="shared")
    return finish(grid)


def _points(rows: Sequence[Row]) -> list[Point]:
    found: list[Point] = []
    for row in rows:
        layers = dict.fromkeys(layer for run in row.done for layer in run.final.layers)
        for layer in layers:
            shares = [run.final.layers[layer] for run in row.done if layer in run.final.layers]
            found.append({
                "method": row.name, "key": str(row.budget), "budget": asked(row), "layer": layer,
                "kept": 100 * stats.mean(shares),
                "dead": f"{sum(share == 0 for share in shares)} of {len(shares)} seeds",
                "died": any(share == 0 for share in shares),
            })  # fmt: skip
    return found


def _panel(
    title: str,
    points: list[Point],
    order: list[str],
    low: float,
    names: list[str],
    looks: Looks,
) -> Any:
    import altair as alt

    placed = [dict(point) | {"place": max(low, point["kept"])} for point in points]
    x = alt.X("layer:O", sort=order, title="layer", axis=_every(len(order)))
    scale = alt.Scale(type="log", domain=[low, 100], nice=False)
    axis = alt.Axis(format="~g", values=ticks(low, 100.0))
    y = alt.Y("place:Q", title=_TITLE, scale=scale, axis=axis)
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("layer:N", "layer"),
                    ("kept:Q", "weights kept (%)"), ("dead:N", "without a weight in"))  # fmt: skip
    colour, shape = looks.colour(names), looks.shape(names)
    chart = alt.Chart(values(placed))
    return alt.layer(
        chart.mark_line(strokeWidth=1.4).encode(x, y, colour, looks.dash(names), opacity=chosen()),
        chart.mark_point(filled=True, size=40).encode(
            x, y, colour, shape, opacity=chosen(), tooltip=shown
        ),
        alt.Chart(values(point for point in placed if point["died"]))
        .mark_text(text="\N{MULTIPLICATION SIGN}", fontSize=20)
        .encode(x, y, tooltip=shown),
    ).properties(width=_width(order), height=HEIGHT, title=title)


def _width(layers: Sequence[str]) -> int:
    """Return a panel's width in pixels: fixed per layer, at most what the page allows."""
    return min(max(NARROWEST, 26 * len(layers)), ROOM // 2 - 70)


def collapse_map(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Map the number of seeds in which each layer lost all weights, by method and budget.

    Returns:
        A spec; None if no layer died.
    """
    import altair as alt

    del looks
    points = _points(rows)
    if not any(point["died"] for point in points):
        return None
    order = layers_in_order(rows)
    dying = {point["method"] for point in points if point["died"]}
    budgets = list(dict.fromkeys(point["budget"] for point in points if point["method"] in dying))
    shares = [
        dict(point) | {"seeds": int(point["dead"].split()[0]), "mark": _mark(point)}
        for point in points
        if point["method"] in dying
    ]
    base = alt.Chart(values(shares)).encode(
        alt.X("budget:O", sort=budgets, title="budget", axis=_every(len(budgets))),
        alt.Y("layer:O", sort=order, title="layer"),
    )
    most = max(point["seeds"] for point in shares)
    ticks = alt.Legend(
        values=list(range(most + 1)), format="d", gradientLength=120, orient="bottom"
    )
    colour = alt.Color(
        "seeds:Q", title="seeds without a weight",
        scale=alt.Scale(domain=[0, most], range=["#b9bfc51f", "#d55e00"], interpolate="rgb"),
        legend=ticks,
    )  # fmt: skip
    # On the full colour dark text reads better than light, even on a dark page.
    ink = alt.ColorValue(
        alt.Undefined, condition={"test": f"datum.seeds > {0.5 * most}", "value": "#1a1b1c"}
    )
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("layer:N", "layer"),
                    ("kept:Q", "weights kept (%)"), ("dead:N", "without a weight in"))  # fmt: skip
    cells = alt.layer(
        base.mark_rect(stroke="#84898f", strokeWidth=0.4).encode(colour, tooltip=shown),
        base.mark_text(fontSize=10).encode(text="mark:N", color=ink),
    ).properties(width=40 * len(budgets), height=24 * len(order))
    return finish(cells.facet(facet=alt.Facet("method:N", title=None), columns=3))


def _every(count: int) -> Any:
    """Return an axis of slanted labels, all of them if there is room."""
    import altair as alt

    return alt.Axis(labelAngle=-40, labelLimit=0, labelOverlap="greedy" if count > 20 else False)


def _mark(point: Point) -> str:
    """Write a share in at most five characters for a cell; the tooltip has all digits."""
    kept = point["kept"]
    if 0 < kept < 0.01:
        return "<0.01"
    return f"{kept:.0f}" if kept >= 10 or not kept else f"{kept:.2g}"
