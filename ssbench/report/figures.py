"""Accuracy against kept share: one line per method, bands of one standard deviation over seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssbench.report.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (
    ("connections", "connections kept (%)"),
    ("params", "parameters kept (%)"),
    ("macs", "MACs kept (%)"),
)
# Okabe and Ito's colours can be told apart by colour-blind readers; markers help in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
ACCURACIES = (10, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
SMALLEST = 1e-3
"""A share of nothing, which a logarithmic axis cannot show, is drawn at this share (percent)."""


def draw(found: Sequence[Row], kind: str) -> bytes:
    """Draw the figure of one (data set, model) as "svg", "png" or "pdf".

    The same records give the same bytes.
    """
    import matplotlib as mpl  # half a second: only for those who draw
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "ssbench", "svg.fonttype": "path", "font.size": 9, "pdf.fonttype": 42,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        _fill(figure, found)
        stream = io.BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
        figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
    return stream.getvalue()


def _fill(figure: Figure, found: Sequence[Row]) -> None:
    axes = figure.subplots(1, len(PANELS), sharey=True)
    labels = list(dict.fromkeys(row.label for row in found if row.asked is not None and row.n))
    for panel, (unit, title) in zip(axes, PANELS, strict=True):
        for index, label in enumerate(labels):
            rows = [row for row in found if row.label == label and row.asked is not None and row.n]
            _line(panel, rows, unit, index)
        _dense(panel, found)
        panel.set_xscale("log")
        panel.set_xlabel(title)
        panel.grid(visible=True, which="major", alpha=0.3)
    _scale(axes[0], found)
    _ticks(axes, found)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    first = found[0]
    figure.suptitle(f"{first.model} on {first.dataset}: mean and ± 1 standard deviation over seeds")


def _line(panel: Axes, rows: Sequence[Row], unit: str, index: int) -> None:
    points = []
    for row in rows:
        middle, share = row.mean("test_top1_error"), row.share(unit)
        if middle is not None and share is not None:
            sd = row.deviation("test_top1_error") or 0.0
            points.append((max(100 * share, SMALLEST), middle, middle - sd, middle + sd))
    if not points:
        return
    points.sort()
    xs, middles, lows, highs = zip(*points, strict=True)
    floor = _floor(rows)
    clip = [[max(value, floor) for value in values] for values in (middles, lows, highs)]
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    dash = "-" if index < len(COLOURS) else "--"
    panel.plot(xs, clip[0], color=colour, marker=marker, ms=4, ls=dash, label=rows[0].label)
    panel.fill_between(xs, clip[1], clip[2], color=colour, alpha=0.15, lw=0)


def _dense(panel: Axes, found: Sequence[Row]) -> None:
    for row in found:
        middle = row.mean("test_top1_error")
        if row.asked is None and middle is not None:
            level = max(middle, _floor([row]))
            panel.axhline(level, color="0.4", ls=":", lw=1.2, label=row.label)


def _floor(rows: Sequence[Row]) -> float:
    """Half an image: no error at all has no place on a logarithmic axis."""
    images = [record.get("test_images") or 1000 for row in rows for record in row.results.values()]
    return 50 / min(images, default=1000)


def _scale(panel: Axes, found: Sequence[Row]) -> None:
    """Show accuracies on the logarithm of the error, so that 98 and 99 % stand apart."""
    errors = [value for row in found for value in row.errors.values()]
    panel.set_yscale("log")
    top = max([*errors, 10.0]) * 1.15
    panel.set_ylim(min(top, 110.0), max(min([*errors, 5.0]) * 0.8, _floor(found) * 0.9))
    panel.set_yticks([100 - accuracy for accuracy in ACCURACIES])
    panel.set_yticklabels([f"{accuracy:g}" for accuracy in ACCURACIES])
    panel.minorticks_off()
    panel.set_ylabel("test accuracy (%), log scale of the error")


def _ticks(axes: Sequence[Axes], found: Sequence[Row]) -> None:
    shares = sorted({100 * row.asked for row in found if isinstance(row.asked, float)})
    low, high = panel_range(found)
    ticks = [share for share in [0.1, 0.2, 0.5, *shares, 100.0] if low <= share <= high]
    for panel in axes:
        panel.set_xlim(low * 0.8, high * 1.2)
        panel.set_xticks(ticks)
        panel.set_xticklabels([f"{share:g}" for share in ticks])
        panel.minorticks_off()


def panel_range(found: Sequence[Row]) -> tuple[float, float]:
    """The smallest and the largest kept share of any unit, in percent."""
    shares = [row.share(unit) for row in found if row.asked is not None for unit, _ in PANELS]
    known = [max(100 * share, SMALLEST) for share in shares if share is not None]
    return min(known, default=1.0), max([*known, 100.0])
