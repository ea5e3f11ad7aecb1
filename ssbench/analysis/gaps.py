"""Differences of a budget's rows to its best row: the intervals behind bold print."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row, rivals

_LEVEL = f"{100 * stats.LEVEL:.0f} %"
TITLES = ("test error %", "seeds shared", "points above the best", f"{_LEVEL} interval", "by")
CAPTION = (
    "How much higher each row's error is than that of the best row at its budget, in points of "
    f"test error, mean over their shared seeds, with the {_LEVEL} interval of the differences by "
    f"seed. Fewer than {stats.FEW} shared seeds give no interval. Nothing is corrected for the "
    "number of comparisons, and the best of several rows is partly best by luck, so the others "
    "are nearer to it than it seems."
)


def gaps(rows: Sequence[Row]) -> dict[Row, tuple[str, ...]]:
    """Write the difference of each row of a budget to the best one, in the columns of `TITLES`.

    Args:
        rows: of one budget.

    Returns:
        The columns of the rows that compete; empty if fewer than two do.
    """
    competing = rivals(rows)
    first = stats.best_row(competing)
    if first is None:
        return {}
    step = max(row.resolution for row in rows)
    columns: dict[Row, tuple[str, ...]] = {}
    for row, errors in competing.items():
        own = wording.error(row.spread("test_top1_error"))
        pairs = stats.pairs(errors, competing[first])
        interval = stats.difference(errors, competing[first], step)
        if row is first:
            columns[row] = (own, str(len(pairs)), "0", "the best", wording.ABSENT)
        elif interval is None or len(pairs) < stats.FEW:
            gap = f"{stats.mean(pairs):z.2f}" if pairs else wording.ABSENT
            columns[row] = (own, str(len(pairs)), gap, wording.ABSENT, wording.ABSENT)
        else:
            limits = f"{interval.low:z.2f} to {interval.high:z.2f}"
            rule = "t" if len(pairs) < stats.MANY else "bootstrap"
            columns[row] = (own, str(len(pairs)), f"{interval.mean:z.2f}", limits, rule)
    return columns
