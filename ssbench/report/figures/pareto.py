"""Draw the Pareto front: the rows that no other row beats in both test error and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssbench.analysis.pareto import complete, front
from ssbench.analysis.rows import Row
from ssbench.analysis.wording import asked as budget
from ssbench.report.figures.chart import (
    Point,
    asked,
    chosen,
    error_axis,
    error_point,
    finish,
    floor,
    log_axis,
    picked,
    tooltip,
    values,
)
from ssbench.report.figures.style import Looks

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT = 390, 240
_AXES = {"params": "nonzero params", "macs": "MACs of nonzero weights, one image"}


def pareto_front(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw every complete row by size and test error, with a step line through the front.

    Returns:
        A spec; None for fewer than two rows with a result.
    """
    import altair as alt

    whole = [row for row in complete(rows) if not row.is_dense]
    if len(whole) < 2:
        return None
    low = floor(whole)
    y = error_axis([{"error": error_point(row, low)["error"]} for row in complete(rows)])
    panels = [_panel(rows, whole, unit, y, looks) for unit in _AXES]
    panels[0].layer[0] = panels[0].layer[0].add_params(picked())
    return finish(alt.hconcat(*panels).resolve_scale(color="shared", shape="shared"))


def _panel(rows: Sequence[Row], whole: Sequence[Row], unit: str, y: alt.Y, looks: Looks) -> Any:
    import altair as alt

    low = floor(whole)
    best = {(name, where) for name, where, _, _ in front(rows, unit).points}
    points: list[Point] = [
        error_point(row, low)
        | {
            "size": size.mean,
            "front": (row.name, budget(*row.budget)) in best,
            "asked": asked(row),
        }
        for row in complete(rows)
        if (size := row.spread(f"{unit}_nonzero")) and size.mean > 0
    ]
    names = [row.name for row in whole]
    pruned = [point for point in points if point["method"] in looks.colours]
    x = log_axis([point["size"] for point in points], _AXES[unit], field="size")
    line = alt.Chart(values(sorted((p for p in points if p["front"]), key=lambda p: p["size"])))
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("said:N", "test error"),
                    ("size:Q", _AXES[unit]))  # fmt: skip
    every = alt.Chart(values(pruned)).mark_point(size=46, strokeWidth=1.4)
    only = alt.Chart(values(p for p in pruned if p["front"])).mark_point(filled=True, size=60)
    dense = alt.Chart(values(p for p in points if p["method"] not in looks.colours))
    return alt.layer(
        line.mark_line(interpolate="step-after", strokeWidth=1.2, color="#84898f").encode(x, y),
        every.encode(
            x, y, looks.colour(names), looks.shape(names), opacity=chosen(), tooltip=shown
        ),
        only.encode(x, y, looks.colour(names), looks.shape(names), opacity=chosen(), tooltip=shown),
        dense.mark_text(text="dense", fontSize=10, dy=-9).encode(x, y, tooltip=shown),
        dense.mark_point(filled=True, size=40, color="#84898f").encode(x, y, tooltip=shown),
    ).properties(width=WIDTH, height=HEIGHT)
