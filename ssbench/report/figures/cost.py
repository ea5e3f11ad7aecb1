"""Draw test error against cost: seconds, epochs and joules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssbench.analysis.rows import Row
from ssbench.report.figures.chart import (
    chosen,
    error_axis,
    error_point,
    finish,
    floor,
    picked,
    tooltip,
    values,
)
from ssbench.report.figures.style import Looks

WIDTH, HEIGHT = 390, 230
_SECONDS = "time of training and pruning (s), one seed"


def cost(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw test error against seconds, against epochs if rows differ in them, and joules if known.

    Returns:
        A spec; None if no time was measured.
    """
    import altair as alt

    low = floor([row for row in rows if row.done])
    points = [
        error_point(row, low) | {"seconds": seconds, "epochs": _epochs(row)} | _joules(row)
        for row in rows
        if row.done and not row.is_dense and (seconds := _seconds(row)) is not None
    ]
    if not points:
        return None
    names = list(dict.fromkeys(point["method"] for point in points))
    axes = [("seconds", _SECONDS)]
    if len({point["epochs"] for point in points}) > 1:
        axes.append(("epochs", "epochs in total"))
    if any("joules" in point for point in points):
        axes.append(("joules", "energy of the devices (J), one seed"))
    panels = [
        _panel([point for point in points if key in point], key, title, names, looks)
        for key, title in axes
    ]
    panels[0] = panels[0].add_params(picked())
    drawn = alt.concat(*panels, columns=2)
    return finish(drawn.resolve_scale(color="shared", shape="shared"))


def _seconds(row: Row) -> float | None:
    train, prune = row.total("seconds_train"), row.total("seconds_prune")
    return None if train is None else train.mean + (prune.mean if prune else 0.0)


def _epochs(row: Row) -> float | None:
    epochs = row.spread("epochs_total")
    return epochs.mean if epochs else None


def _joules(row: Row) -> dict[str, float]:
    joules = row.joules()
    return {} if joules is None else {"joules": joules.mean}


def _panel(
    points: list[dict[str, Any]], key: str, title: str, names: list[str], looks: Looks
) -> Any:
    import altair as alt

    x = alt.X(f"{key}:Q", title=title, scale=alt.Scale(zero=False, padding=12))
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("said:N", "test error"),
                    (f"{key}:Q", title))  # fmt: skip
    return (
        alt.Chart(values(points))
        .mark_point(filled=True, size=52)
        .encode(x, error_axis([{"error": p["error"]} for p in points]), looks.colour(names),
                looks.shape(names), opacity=chosen(), tooltip=shown)
        .properties(width=WIDTH, height=HEIGHT)
    )  # fmt: skip
