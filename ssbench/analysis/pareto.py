"""Error against size: the rows that no other beats, and the area under each method's curve."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import UNFAIR, Row, missing_seeds, standing, twins, usual_seeds


def smaller(row: Row, rows: Sequence[Row], key: str) -> Mapping[Row, dict[int, float]]:
    """Return the errors, by seed, of a row and its rivals: rows with no more params.

    Rivals may have up to `UNFAIR` more params, as budgets are not met to the last weight. Empty if
    the row has no rival or is not `ssbench.analysis.rows.standing`.

    Args:
        row: one of ``rows``.
        rows: of one data set, of any network.
        key: of the error.
    """
    size = row.mean("params_nonzero")
    able = standing(rows)
    if size is None or not row.values(key) or row not in able:
        return {}
    limit = size * (1 + UNFAIR)
    errors = {
        other: values
        for other in able
        if (params := other.mean("params_nonzero")) is not None
        and params <= limit
        and (values := other.values(key))
    }
    return errors if len(errors) > 1 else {}


def front_of_error(rows: Sequence[Row], key: str) -> set[Row]:
    """Return the rows that are best, or not separable from the best, among those no larger.

    The same rule as within a budget (`stats.best_rows`), for rows of different sizes: a large
    network must beat or equal all smaller ones. The smallest has no rival.

    Args:
        rows: of one data set, of any network.
        key: of the error.
    """
    resolution = max((row.resolution for row in rows), default=0.0)
    return {row for row in rows if row in stats.best_rows(smaller(row, rows, key), resolution)}


UNITS = {"params": "params", "macs": "MACs"}


@dataclass(frozen=True)
class Front:
    """The rows that no other beats in test error and size, from the smallest to the largest.

    Attributes:
        points: (name, budget, size, error in percent); the size is the mean nonzero count.
    """

    unit: str
    points: tuple[tuple[str, str, float, float], ...]

    def __str__(self) -> str:
        """Return the front in one line."""
        listed = "; ".join(
            f"{name}{'' if budget == '100 %' else f' at {budget}'} "
            f"({wording.count(size)}, {error:.2f} %)"
            for name, budget, size, error in self.points
        )
        return f"{UNITS[self.unit]}: {listed}"


@dataclass(frozen=True)
class Areas:
    """The mean test error of each method over a range of compression that all of them span.

    Attributes:
        low: smallest compression ratio (dense / nonzero); ``high``: the largest.
        means: errors in percent, from best to worst.
        left_out: methods that lack a budget or a seed.
    """

    unit: str
    low: float
    high: float
    means: Mapping[str, float]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return the areas in one line."""
        listed = ", ".join(f"{name} {mean:.2f}" for name, mean in self.means.items())
        missing = f"; without a full curve: {', '.join(self.left_out)}" if self.left_out else ""
        noun = UNITS[self.unit]
        return f"{noun}, {self.low:.3g} to {self.high:.3g} times fewer: {listed}{missing}"


FRONT_CAPTION = (
    "Rows that no other row beats in both mean test error and size (nonzero, mean over seeds), "
    "from the smallest to the largest, without collapsed rows. The verdicts say whether rows can "
    "be separated."
)
AREA_CAPTION = (
    "Area under test error against the logarithm of the compression ratio (dense / nonzero), "
    "divided by the width of the range: the mean error in % over the range that all curves span. "
    "A curve is incomplete if one of its rows collapsed or missed its budget."
)


def complete(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with a result for every usual seed; only their means are comparable."""
    seeds = usual_seeds(rows)
    return [row for row in rows if row.done and not missing_seeds(row, seeds)]


def front(rows: Sequence[Row], unit: str) -> Front:
    """Find the Pareto front of the complete rows of a (data set, model).

    Args:
        rows: of one table.
        unit: "params" or "macs".
    """
    points: dict[Row, tuple[float, float]] = {}
    for row in standing(complete(rows)):
        size, error = row.spread(f"{unit}_nonzero"), row.spread("test_top1_error")
        if size and error:
            points[row] = (size.mean, error.mean)
    return Front(
        unit,
        tuple((row.name, wording.asked(*row.budget), *points[row]) for row in stats.pareto(points)),
    )


def areas(rows: Sequence[Row], unit: str) -> Areas | None:
    """Average each method's error over the compression that all complete curves span.

    Args:
        rows: of one table.
        unit: "params" or "macs".

    Returns:
        None if fewer than two methods have a curve, or their curves share no range.
    """
    whole = {row for row in standing(complete(rows)) if not row.off_budget}
    without_floor = twins(rows)
    budgets: dict[str, set[object]] = defaultdict(set)
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if isinstance(row.budget[0], float | int) and row not in without_floor:
            budgets[row.budget[1] or ""].add(row.budget[0])
            lines[row.name].append(row)
    curves, left_out = {}, []
    for name, line in lines.items():
        full = len(line) == len(budgets[line[0].budget[1] or ""]) and set(line) <= whole
        curve = _curve(line, unit) if full else []
        if len(curve) > 1:
            curves[name] = curve
        else:
            left_out.append(name)
    span = stats.common_range(curves.values())
    if span is None or len(curves) < 2:
        return None
    means = {name: stats.mean_height(curve, *span) for name, curve in curves.items()}
    ordered = dict(sorted(means.items(), key=lambda item: item[1]))
    return Areas(unit, 2 ** span[0], 2 ** span[1], ordered, tuple(left_out))


def _curve(line: Sequence[Row], unit: str) -> list[tuple[float, float]]:
    """Return compression (log2) and error of each budget; empty if a network lost everything."""
    points = {}
    for row in line:
        kept, error = row.kept(unit), row.spread("test_top1_error")
        if kept is None or error is None or kept.mean <= 0:
            return []
        points[-math.log2(kept.mean)] = error.mean
    return sorted(points.items())
