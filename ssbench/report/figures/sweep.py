"""Draw how strongly a method depends on a hyper-parameter, for instance lambda."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ssbench.analysis.rows import Row
from ssbench.report.figures.chart import (
    UNITS,
    asked,
    error_axis,
    error_point,
    finish,
    floor,
    tooltip,
    values,
)
from ssbench.report.figures.style import Looks

WIDTH, HEIGHT = 230, 200


def sweeps(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw test error against each swept hyper-parameter, a line for every budget.

    Returns:
        A spec; None if no method has rows that differ in one number only.
    """
    import altair as alt

    del looks
    groups = swept(rows)
    shares = list(dict.fromkeys(_share(row) for _, _, group in groups for row in group))
    panels = [_panel(method, key, group, shares) for method, key, group in groups]
    return finish(alt.concat(*panels, columns=3)) if panels else None


def swept(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Return (method, hyper-parameter, rows) of methods run with several values."""
    methods: dict[tuple[str, str, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        if row.done and not row.is_dense:
            methods[row.like.method, row.like.grain, row.like.retrain].append(row)
    found = []
    for (method, _, _), group in methods.items():
        different = [
            key
            for key in group[0].like.settings
            if len({str(row.like.settings.get(key)) for row in group}) > 1
        ]
        numbers = [row.like.settings.get(key) for key in different for row in group]
        if len(different) == 1 and all(isinstance(n, float | int) for n in numbers):
            found.append((method, different[0], group))
    return found


def _panel(method: str, key: str, rows: Sequence[Row], shares: Sequence[str]) -> Any:
    import altair as alt

    low = floor(rows)
    points = [
        error_point(row, low)
        | {"value": row.like.settings[key], "budget": asked(row), "share": _share(row)}
        for row in rows
    ]
    numbers = sorted({point["value"] for point in points})
    wide = numbers[0] > 0 and numbers[-1] > 3 * numbers[0]
    scale = alt.Scale(type="log" if wide else "linear", nice=False, zero=False, padding=12)
    axis = alt.Axis(values=numbers, format="~g")
    x = alt.X("value:Q", title=f"{key}{', log scale' if wide else ''}", scale=scale, axis=axis)
    colour = alt.Color(
        "share:O", title="kept", sort=shares,
        scale=alt.Scale(domain=shares, range=_shades(len(shares))),
        legend=alt.Legend(orient="bottom", direction="horizontal"),
    )  # fmt: skip
    units = dict.fromkeys(UNITS[row.budget[1]] for row in rows if row.budget[1])
    title = f"{method} (share of {' or '.join(units)} kept)"
    y = error_axis(points)
    chart = alt.Chart(values(points))
    shown = tooltip(("method:N", "method"), ("budget:N", "kept"), ("value:Q", key),
                    ("said:N", "test error"), ("n:Q", "seeds"))  # fmt: skip
    return alt.layer(
        chart.mark_rule(strokeWidth=1).encode(
            x, alt.Y("error_low:Q"), alt.Y2("error_high:Q"), colour
        ),
        chart.mark_line(strokeWidth=1.5).encode(x, y, colour),
        chart.mark_point(filled=True, size=46, opacity=1).encode(x, y, colour, tooltip=shown),
    ).properties(width=WIDTH, height=HEIGHT, title=title)


def _share(row: Row) -> str:
    share = row.budget[0]
    return f"{100 * share:.4g} %" if isinstance(share, float | int) else "own threshold"


def _shades(count: int) -> list[str]:
    """Return distinguishable colours from light to dark; the smallest network is darkest."""
    shades = ["#f0c27b", "#e08f3c", "#c45a2c", "#8f3a5a", "#5a3a86", "#2f3f9e"]
    last = len(shades) - 1
    if count > len(shades):
        return [shades[number % len(shades)] for number in range(count)]
    # As far apart as possible; the lightest is weak on white, so it is used only for six.
    first = 0 if count == len(shades) else 1
    steps = max(1, count - 1)
    return [shades[last - round((last - first) * number / steps)] for number in range(count)][::-1]
