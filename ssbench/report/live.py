"""The page that stands in for a report while its runs are under way: it reloads itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbench.analysis.rows import by_table, make_rows
from ssbench.report.formats.environment import environment
from ssbench.report.tables import Table, make_table
from ssbench.storage.live import RunNow, StageNow
from ssbench.storage.records import read_runs

SECONDS = 2
"""The time after which the page reloads itself."""
WIDTH, HEIGHT = 320, 60
"""The size of a curve in pixels."""


@dataclass(frozen=True)
class Curve:
    """A curve as the points of an SVG polyline, with its last value as text."""

    title: str
    points: str
    last: str


def live_page(folder: Path, run: RunNow, stages: Sequence[StageNow], left: str) -> bytes:
    """Make the page of a folder of records.

    Args:
        folder: of the records so far.
        run: the state of the run.
        stages: those that run now.
        left: the time left, in words.
    """
    tables = _tables(folder) if any(folder.glob("*.jsonl")) else []
    template = environment("html").get_template("live.html.j2")
    return template.render(
        run=run,
        left=left,
        seconds=SECONDS,
        stages=[(stage, _curves(stage)) for stage in stages],
        tables=tables,
        size=(WIDTH, HEIGHT),
    ).encode()


def _tables(folder: Path) -> list[Table]:
    rows, _ = make_rows(read_runs(folder))
    return [make_table(group) for group in by_table(rows).values()]


def _curves(stage: StageNow) -> list[Curve]:
    loss = [value for value in stage.loss if value is not None]
    curves = []
    for title, values, form in (("loss", loss, "{:.4f}"), ("error", stage.error, "{:.2f} %")):
        if values:
            curves.append(Curve(title, _points(values, stage.epochs), form.format(values[-1])))
    return curves


def _points(values: Sequence[float], epochs: int) -> str:
    """Place values from left to right by epoch, and from bottom to top by size."""
    low, high = min(values), max(values)
    scale = (HEIGHT - 4) / (high - low) if high > low else 0.0
    step = WIDTH / max(epochs, len(values))
    places = (
        (step * (number + 1), HEIGHT - 2 - (value - low) * scale)
        for number, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
