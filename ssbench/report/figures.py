"""Rows -> the accuracy figure of one (data set, model), as SVG, PNG or PDF bytes.

Drawn with Matplotlib's object-oriented API: no global state, no window, the same bytes each time.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ssbench.report import text
from ssbench.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (("params", "params"), ("connections", "connections"), ("macs", "MACs"))
_INK = "#1a1b1c"
_GRID = "#b4b5b6"
# Okabe and Ito's palette without yellow and black, which vanish on white and on black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "osD^vPX<>h"
_DASHES = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_CONTROL = "#7a7b7c"
_ACCURACIES = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 8, "axes.labelsize": 8,
    "legend.fontsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "axes.linewidth": 0.7, "pdf.fonttype": 42, "savefig.dpi": 220,
    "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class _Look:
    number: int
    colour: str
    marker: str
    dashes: Any


def draw(rows: Sequence[Row], formats: Sequence[str]) -> dict[str, bytes]:
    """Draw test accuracy against kept shares, one line per method.

    Args:
        rows: of one (data set, model), in printing order.
        formats: of "svg", "png", "pdf".

    Returns:
        The content of a file by format; nothing where no pruned row has a result.
    """
    # Takes most of a second, which a table in the terminal need not wait for.
    import matplotlib as mpl

    lines = _lines(rows)
    if not lines:
        return {}
    like = rows[0].like
    name = text.slug(f"{like.dataset}-{like.model}")
    with mpl.rc_context(_STYLE | {"svg.hashsalt": f"ssbench-{name}"}):
        figure = _figure(rows, lines)
        return {kind: _save(figure, kind) for kind in formats}


def inline(svg: bytes, prefix: str) -> Markup:
    """Make an SVG file part of a page: text and axes in the page's colour, unique identifiers.

    Args:
        svg: what `draw` returned.
        prefix: put before all identifiers, so that several figures can stand in one page.
    """
    content = svg.decode()
    content = content[content.index("<svg") :]
    content = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", content)
    content = re.sub(r"<metadata>.*?</metadata>", "", content, flags=re.DOTALL)
    content = content.replace(_INK, "currentColor")
    content = re.sub("(fill|stroke): #ffffff", r"\1: none", content)
    return Markup(content)  # noqa: S704 -- Matplotlib has escaped all text in it


def _save(figure: Figure, kind: str) -> bytes:
    dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=dates.get(kind, {}))
    return buffer.getvalue()


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group the pruned rows that have results by name: controls first, then by alphabet."""
    pruned = [row for row in rows if row.done and not row.is_dense]
    ordered = sorted(pruned, key=lambda row: (row.like.method != "random", row.name))
    lines: dict[str, list[Row]] = {}
    for row in ordered:
        lines.setdefault(row.name, []).append(row)
    return lines


def _looks(lines: dict[str, list[Row]]) -> Iterator[_Look]:
    controls = others = 0
    for number, rows in enumerate(lines.values()):
        if rows[0].like.method == "random":
            yield _Look(number, _CONTROL, "x+*1"[controls % 4], _DASHES[2])
            controls += 1
        else:
            turn = others // len(_COLOURS)
            colour = _COLOURS[others % len(_COLOURS)]
            yield _Look(
                number, colour, _MARKERS[others % len(_MARKERS)], _DASHES[turn % len(_DASHES)]
            )
            others += 1


def _figure(rows: Sequence[Row], lines: dict[str, list[Row]]) -> Figure:
    from matplotlib.figure import Figure

    longest = max(len(name) for name in lines)
    columns = max(1, min(4, 105 // (longest + 8)))
    height = 2.5 + 0.17 * -(-(len(lines) + 1) // columns)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    handles: list[Any] = []
    for axes, (unit, title) in zip(panels, PANELS, strict=True):
        axes.set_gid(unit)
        axes.set_xscale("log")  # before anything is drawn: limits of a linear axis may be negative
        handles = [
            _line(axes, group, unit, look)
            for group, look in zip(lines.values(), _looks(lines), strict=True)
        ]
        dense = [_dense(axes, row) for row in rows if row.is_dense and row.done]
        handles += dense
        _shares(axes, rows, title)
    _accuracies(panels[0], rows)
    names = [*lines, *(row.name for row in rows if row.is_dense and row.done)]
    # A legend leaves out labels that begin with "_": they are put in after it is made.
    legend = figure.legend(
        handles, ["…"] * len(handles), loc="outside lower center", ncols=columns, frameon=False
    )
    for entry, name in zip(legend.get_texts(), names, strict=True):
        entry.set_text(name)
    return figure


def _accuracy(row: Row) -> tuple[float, float]:
    """The mean accuracy in percent and its standard deviation in points, 0 for one seed."""
    error = row.spread("test_top1_error")
    assert error is not None  # noqa: S101 -- a finished run has a test error
    return 100 - error.mean, error.sd or 0.0


def _line(axes: Axes, rows: Sequence[Row], unit: str, look: _Look) -> Any:
    """Draw a method's points and band; a budget of its own is a point apart from the line."""
    points = []
    for row in rows:
        kept = row.kept(unit)
        if kept is not None and kept.mean > 0:
            points.append((100 * kept.mean, *_accuracy(row), row.budget[0] == "own"))
    swept = sorted(point for point in points if not point[3])
    own = [point for point in points if point[3]]
    style: dict[str, Any] = {
        "color": look.colour, "marker": look.marker, "markersize": 4.2, "linewidth": 1.3,
        "markeredgewidth": 1.2 if look.marker in "x+1" else 0.4,
    }  # fmt: skip
    if look.marker not in "x+1":
        style["markeredgecolor"] = "#ffffff"
    shares, means, sds = ([point[i] for point in swept] for i in range(3))
    (line,) = axes.plot(shares, means, linestyle=look.dashes, **style)
    line.set_gid(f"method-{look.number}-{text.slug(rows[0].name)}-{axes.get_gid()}")
    if own:
        axes.plot([p[0] for p in own], [p[1] for p in own], **style | {"linestyle": "none"})
        axes.errorbar(
            [p[0] for p in own], [p[1] for p in own], [p[2] for p in own],
            fmt="none", ecolor=look.colour, elinewidth=1,
        )  # fmt: skip
    low = [max(0.0, mean - sd) for mean, sd in zip(means, sds, strict=True)]
    high = [min(100.0, mean + sd) for mean, sd in zip(means, sds, strict=True)]
    axes.fill_between(shares, low, high, color=look.colour, alpha=0.14, linewidth=0)
    return line


def _dense(axes: Axes, row: Row) -> Any:
    line = axes.axhline(_accuracy(row)[0], color=_INK, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    line.set_gid(f"{text.slug(row.name)}-{axes.get_gid()}")
    return line


def _shares(axes: Axes, rows: Sequence[Row], title: str) -> None:
    """Scale and label the horizontal axis: from dense at the left to the smallest network."""
    ticks = sorted({100 * share for row in rows if isinstance(share := row.budget[0], int | float)})
    ticks = ticks or [1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick:.4g}" for tick in ticks])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set_xlabel(f"{title} kept (%)")
    axes.grid(color=_GRID, linewidth=0.5, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _accuracies(axes: Axes, rows: Sequence[Row]) -> None:
    """Scale the vertical axis; where errors span an order of magnitude, by their logarithm."""
    measured = [_accuracy(row) for row in rows if row.done]
    floor = max(row.resolution for row in rows) / 2
    errors = [max(floor, 100 - mean) for mean, _ in measured]
    axes.set_ylabel("test accuracy (%)")
    if max(errors) < 8 * min(errors):
        return
    axes.set_yscale("function", functions=_by_error(floor))
    axes.set_ylabel("test accuracy (%)\nlog scale of the error")
    least = min(max(floor, 100 - mean - sd) for mean, sd in measured)
    most = max(min(100.0, 100 - mean + sd) for mean, sd in measured)
    axes.set_ylim(100 - most * 1.12, 100 - least / 1.12)
    ticks = [a for a in _ACCURACIES if least / 1.12 <= 100 - a <= most * 1.12]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _by_error(floor: float) -> tuple[Any, Any]:
    """The scale on which an accuracy stands at -log10 of its error, and back."""

    def forward(accuracy: Any) -> Any:
        return -np.log10(np.maximum(floor, 100 - np.asarray(accuracy, dtype=float)))

    def back(place: Any) -> Any:
        return 100 - 10.0 ** -np.asarray(place, dtype=float)

    return forward, back
