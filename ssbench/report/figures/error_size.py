"""Draw test error against size: as a share of the dense network, and absolute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssbench.analysis.rows import Row
from ssbench.analysis.wording import listing
from ssbench.report.figures.chart import (
    UNITS,
    Point,
    asked,
    bars,
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
from ssbench.report.figures.style import DENSE, Looks

if TYPE_CHECKING:
    import altair as alt

WIDTH, HEIGHT, ROOM = 250, 220, 44
"""Pixels of a panel, and of the space beside it for the dense network's label."""


class Reference(NamedTuple):
    """A published result: test error in percent, and sizes by unit ("params", "macs")."""

    name: str
    source: str
    error: float
    sizes: dict[str, float]


class _Panel(NamedTuple):
    """One panel: its axis' title, the size of a row, and whether dense is at the left."""

    unit: str
    title: str
    size: Callable[[Row], float | None]
    falls: bool


def error_against_shares(rows: Sequence[Row], looks: Looks) -> dict[str, Any] | None:
    """Draw test error against the kept shares of params, connections and MACs.

    Args:
        rows: of one (data set, model).
        looks: the colours and marks of all methods of the report.

    Returns:
        A spec; None if no pruned row has a result.
    """
    panels = [
        _Panel(unit, f"{noun} kept (% of the dense network's)", _share(unit), True)
        for unit, noun in UNITS.items()
    ]
    return _draw(rows, looks, panels, ())


def error_against_sizes(
    rows: Sequence[Row], looks: Looks, published: Sequence[Reference] = ()
) -> dict[str, Any] | None:
    """Draw test error against nonzero params, nonzero MACs and bytes in sparse format.

    Args:
        rows: of one (data set, model).
        looks: the colours and marks of all methods of the report.
        published: results from papers, drawn as crosses.

    Returns:
        A spec; None if no pruned row has a result.
    """
    panels = [
        _Panel("params", "nonzero params", _mean("params_nonzero"), False),
        _Panel("macs", "MACs of nonzero weights, one image", _mean("macs_nonzero"), False),
        _Panel("bytes", "bytes of all parameters, sparse format", _mean("bytes_sparse"), False),
    ]
    return _draw(rows, looks, panels, published)


def _share(unit: str) -> Callable[[Row], float | None]:
    def get(row: Row) -> float | None:
        kept = row.kept(unit)
        return 100 * kept.mean if kept and kept.mean > 0 else None

    return get


def _mean(key: str) -> Callable[[Row], float | None]:
    def get(row: Row) -> float | None:
        size = row.spread(key)
        return size.mean if size and size.mean > 0 else None

    return get


def _draw(
    rows: Sequence[Row], looks: Looks, panels: Sequence[_Panel], published: Sequence[Reference]
) -> dict[str, Any] | None:
    import altair as alt

    done = [row for row in rows if row.done]
    if not any(not row.is_dense for row in done):
        return None
    low = floor(done)
    errors = [error_point(row, low) for row in done]
    names = [row.name for row in done if not row.is_dense]
    drawn = []
    for panel in panels:
        points = [
            error_point(row, low) | {"size": size, "dense": row.is_dense, "own": own}
            for row in done
            if (size := panel.size(row)) is not None
            for own in [row.budget[0] == "own"]
        ]
        quoted = [
            {"method": r.name, "source": r.source, "error": r.error, "size": r.sizes[panel.unit]}
            for r in published
            if panel.unit in r.sizes
        ]
        if any(not point["dense"] for point in points):
            drawn.append(_panel(panel, points, quoted, [*errors, *quoted], names, looks))
    if not drawn:
        return None
    # One panel's legend serves all panels.
    drawn[0].layer[0] = drawn[0].layer[0].add_params(picked())
    row = alt.hconcat(*drawn, spacing=ROOM)
    return finish(row.resolve_scale(color="shared", shape="shared"))


def _panel(
    panel: _Panel,
    points: Sequence[Point],
    quoted: Sequence[Point],
    errors: Sequence[Point],
    names: Sequence[str],
    looks: Looks,
) -> Any:
    import altair as alt

    pruned = [point for point in points if not point["dense"]]
    places = [point["size"] for point in (*points, *quoted)]
    x = log_axis(places, panel.title, field="size", falls=panel.falls)
    y = error_axis(errors)
    faded = chosen()
    shown = tooltip(("method:N", "method"), ("budget:N", "budget"), ("said:N", "test error"),
                    ("n:Q", "seeds"), ("size:Q", panel.title))  # fmt: skip
    swept = alt.Chart(values(point for point in pruned if not point["own"]))
    layers: list[Any] = [
        swept.mark_area(opacity=0.13, tooltip=None).encode(
            x, alt.Y("error_low:Q"), alt.Y2("error_high:Q"), looks.colour(names)
        ),
        swept.mark_line(strokeWidth=1.6).encode(
            x, y, looks.colour(names), looks.dash(names), opacity=faded
        ),
        *bars(pruned, x, looks.colour(names), shown),
        alt.Chart(values(pruned))
        .mark_point(filled=True, size=48)
        .encode(
            x, y, looks.colour(names), looks.shape(names), opacity=faded, tooltip=shown
        ),
    ]  # fmt: skip
    dense = [point for point in points if point["dense"]]
    if dense:
        layers += _dense(dense, x, y)
    if quoted:
        mark = alt.Chart(values(quoted)).mark_point(shape="cross", size=60, angle=45, color=DENSE)
        shown = tooltip(("method:N", "published"), ("source:N", "source"), ("error:Q", "error %"))
        layers.append(mark.encode(x, y, tooltip=shown))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _dense(points: list[Point], x: alt.X, y: alt.Y) -> list[Any]:
    """Draw a dashed line at the dense network's error, with its label beside the panel."""
    import altair as alt

    chart = alt.Chart(values(points))
    line = chart.mark_rule(strokeDash=[4, 3], strokeWidth=1.2, color=DENSE).encode(y)
    name = chart.mark_text(align="left", baseline="middle", dx=4, fontSize=10).encode(
        y, x=alt.value("width"), text=alt.value("dense")
    )
    point = chart.mark_point(filled=True, size=45, color=DENSE, shape="circle").encode(
        x, y, tooltip=tooltip(("method:N", "method"), ("said:N", "test error"), ("n:Q", "seeds"))
    )
    return [line, name, point]


def unplaced(rows: Sequence[Row]) -> str:
    """Name the rows of size 0, which have no place on a logarithmic axis."""
    text = ""
    for unit, noun in UNITS.items():
        sizes = [(row, row.spread(f"{unit}_nonzero")) for row in rows if row.done]
        gone = [f"{row.name} at {asked(row)}" for row, size in sizes if size and not size.mean]
        text += f" Not on the axis of {noun}, because none is left: {listing(gone)}." * bool(gone)
    return text
