"""Draw training curves: loss and error by epoch, through all stages of a run."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ssbench.analysis import stats
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
from ssbench.report.figures.style import DENSE, Looks
from ssbench.storage.records import RunRecords

WIDTH, HEIGHT = 390, 220
_PANELS = (("loss", "training loss (nats), log scale"),
           ("error", "training error (%), log scale"))  # fmt: skip


def training_curves(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw loss and error on the training images by epoch, each method at its smallest budget.

    Large marks are the validation errors at the end of every stage.

    Returns:
        A spec; None if no record has curves.
    """
    import altair as alt

    chosen_rows = _smallest(rows)
    curves = [point for row in chosen_rows for point in _curve(row)]
    if not curves:
        return None
    ends = [point for row in chosen_rows for point in _ends(row)]
    names = [row.name for row in chosen_rows]
    low = 100 / max(run.final.train_images or 1000 for row in chosen_rows for run in row.done) / 2
    panels = [
        _panel(key, title, curves, ends, names, looks, low if key == "error" else 0.0)
        for key, title in _PANELS
    ]
    panels[0].layer[0] = panels[0].layer[0].add_params(picked())
    return finish(alt.hconcat(*panels).resolve_scale(color="shared", shape="shared"))


def _smallest(rows: Sequence[Row]) -> list[Row]:
    """Return the last row of each pruned method; tables list budgets from large to small."""
    last = {row.name: row for row in rows if row.done and not row.is_dense}
    return list(last.values())


def _curve(row: Row) -> list[Point]:
    """Return the mean over seeds of each epoch of all stages."""
    series = [curve for run in row.done if (curve := _epochs(run))]
    if not series:
        return []
    return [
        {
            "method": row.name, "budget": asked(row), "epoch": number,
            "stage": each[0][2], "part": each[0][3],
            "loss": stats.mean(loss for loss, _, _, _ in each),
            "error": stats.mean(error for _, error, _, _ in each),
        }
        for number, each in enumerate(zip(*series, strict=False), 1)
    ]  # fmt: skip


def _epochs(run: RunRecords) -> list[tuple[float, float, str, int]]:
    return [
        (loss, error, stage.stage, number)
        for number, stage in enumerate(run.stages)
        for loss, error in zip(stage.curve_loss or (), stage.curve_error or (), strict=True)
    ]


def _ends(row: Row) -> list[Point]:
    """Return the mean validation error after each stage that trained, at its last epoch."""
    found: list[Point] = []
    for number, stage in enumerate(row.done[0].stages):
        errors = [run.stages[number].validation_top1_error for run in row.done]
        measured = [error for error in errors if error is not None]
        if stage.epochs and stage.epochs_total and measured:
            found.append({"method": row.name, "budget": asked(row), "epoch": stage.epochs_total,
                          "error": stats.mean(measured), "stage": stage.stage})  # fmt: skip
    return found


def _panel(
    key: str,
    title: str,
    curves: Sequence[Point],
    ends: Sequence[Point],
    names: list[str],
    looks: Looks,
    low: float,
) -> Any:
    import altair as alt

    def above(points: Sequence[Point]) -> list[Point]:
        return [dict(point) | {key: max(low, point[key])} for point in points]

    last = max(point["epoch"] for point in curves)
    step = max(1, round(last / 10))
    whole = alt.Axis(format="d", values=list(range(step, last + 1, step)))
    x = alt.X("epoch:Q", title="epoch, all stages", axis=whole,
              scale=alt.Scale(nice=False, zero=False))  # fmt: skip
    scale = alt.Scale(type="log", nice=False)
    found = [point[key] for point in above(curves)]
    axis = alt.Axis(format="~g", values=ticks(min(found), max(found)))
    y = alt.Y(f"{key}:Q", title=title, scale=scale, axis=axis)
    colour, shape = looks.colour(names), looks.shape(names)
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("stage:N", "stage"),
                    ("epoch:Q", "epoch"), (f"{key}:Q", title.split(",")[0]))  # fmt: skip
    lines = alt.Chart(values(above(curves))).mark_line(strokeWidth=1.4)
    breaks = alt.Chart(values({"epoch": end} for end in _breaks(curves)))
    layers: list[Any] = [
        lines.encode(
            x, y, colour, looks.dash(names), detail="part:O", opacity=chosen(), tooltip=shown
        ),
        breaks.mark_rule(strokeDash=[3, 3], color=DENSE).encode(alt.X("epoch:Q")),
    ]
    if single := _single(curves):
        marks = alt.Chart(values(above(single)))
        ticked = marks.mark_tick(orient="horizontal", thickness=1.6, size=12)
        layers.append(ticked.encode(x, y, colour, opacity=chosen(), tooltip=shown))
    if key == "error" and ends:
        marks = alt.Chart(values(above(ends))).mark_point(filled=True, size=60)
        title = "validation error (%)"
        hover = tooltip(("method:N", "method"), ("stage:N", "after stage"), ("error:Q", title))
        layers.append(marks.encode(x, y, colour, shape, opacity=chosen(), tooltip=hover))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _single(curves: Sequence[Point]) -> list[Point]:
    """Return the points of stages of one epoch, which have no line."""
    lengths = Counter((point["method"], point["part"]) for point in curves)
    return [point for point in curves if lengths[point["method"], point["part"]] == 1]


def _breaks(curves: Sequence[Point]) -> list[float]:
    """Return the places between stages."""
    found = {
        (one["epoch"] + two["epoch"]) / 2
        for one, two in itertools.pairwise(curves)
        if one["method"] == two["method"] and one["part"] != two["part"]
    }
    return sorted(found)
