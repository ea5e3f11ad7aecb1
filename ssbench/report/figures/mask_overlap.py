"""Draw the overlap of two methods' masks, with the overlap of random masks in the tooltip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssbench.analysis.mask_overlap import overlaps
from ssbench.analysis.rows import Row
from ssbench.report.figures.chart import finish, tooltip, values
from ssbench.report.figures.style import Looks

WIDTH, HEIGHT, ROOM = 27, 24, 900
"""Pixels of a cell, and maximum width of panels side by side."""


def mask_overlap(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw the overlap of every two methods' masks at each requested share.

    Rows show number and name of a method, columns only the number.

    Returns:
        A spec; None if no two rows have samples of their masks.
    """
    import altair as alt

    pairs = overlaps(rows)
    if not pairs:
        return None
    names = looks.only([name for pair in pairs for name in (pair.first, pair.second)])
    numbers = {name: number for number, name in enumerate(names, 1)}
    points = [
        {"first": one, "second": two, "budget": pair.budget, "overlap": pair.jaccard,
         "chance": pair.chance, "said": f"{pair.jaccard:.2f}",
         "line": f"{numbers[one]}  {one}", "column": numbers[two]}
        for pair in pairs
        for one, two in ((pair.first, pair.second), (pair.second, pair.first))
    ]  # fmt: skip
    budgets = list(dict.fromkeys(pair.budget for pair in pairs))
    above = alt.Axis(orient="top", labelAngle=0, labelOverlap=False, ticks=False, domain=False)
    beside = alt.Axis(labelLimit=0, labelOverlap=False, ticks=False, domain=False)
    lines = [f"{number}  {name}" for name, number in numbers.items()]
    base = alt.Chart(values(points)).encode(
        alt.X("column:O", title=None, axis=above),
        alt.Y("line:N", sort=lines, title=None, axis=beside),
    )
    colour = alt.Color(
        "overlap:Q", title="kept by both / kept by either",
        scale=alt.Scale(domain=[0, 1], range=["#0072b20a", "#0072b2"]),
        legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=0),
    )  # fmt: skip
    shown = tooltip(("first:N", "method"), ("second:N", "and"), ("overlap:Q", "overlap"),
                    ("chance:Q", "by chance"), ("budget:N", "budget"))  # fmt: skip
    ink = alt.ColorValue(
        alt.Undefined, condition={"test": "datum.overlap > 0.6", "value": "#ffffff"}
    )
    cells = alt.layer(
        base.mark_rect(stroke="#84898f", strokeWidth=0.3).encode(colour, tooltip=shown),
        base.mark_text(fontSize=9).encode(text="said:N", color=ink),
    ).properties(width=WIDTH * len(names), height=HEIGHT * len(names))
    facet = alt.Facet("budget:N", sort=budgets, title=None)
    columns = max(1, ROOM // (WIDTH * len(names) + 30))
    return finish(cells.facet(facet=facet, columns=columns).resolve_axis(x="independent"))
