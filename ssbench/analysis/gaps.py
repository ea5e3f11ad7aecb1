"""How far the rows of a budget are from the best of them: the interval that bold print rests on."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row, rivals

_LEVEL = f"{100 * stats.LEVEL:.0f} %"
TITLES = ("test error %", "seeds shared", "points above the best", f"{_LEVEL} interval", "by")
CAPTION = (
    "How much more each row errs than the best one at its budget, in points of test error, mean "
    f"over the seeds that both have, with the {_LEVEL} interval of the differences by seed. Below "
    f"{stats.FEW} shared seeds no interval can be given. Nothing is corrected for the number of "
    "comparisons, and the best of several rows is partly best by luck, so that the others are "
    "nearer to it than it seems."
)


def gaps(rows: Sequence[Row]) -> dict[Row, tuple[str, ...]]:
    """Write the difference of each row of a budget to the best one, in the columns of `TITLES`.

    Args:
        rows: of one budget.

    Returns:
        Of the rows that compete with each other; nothing where fewer than two do.
    """
    competing = rivals(rows)
    first = stats.best_row(competing)
    if first is None:
        return {}
    step = max(row.resolution for row in rows)
    found: dict[Row, tuple[str, ...]] = {}
    for row, errors in competing.items():
        said = wording.error(row.spread("test_top1_error"))
        pairs = stats.pairs(errors, competing[first])
        interval = stats.difference(errors, competing[first], step)
        if row is first:
            found[row] = (said, str(len(pairs)), "0", "the best", wording.ABSENT)
        elif interval is None or len(pairs) < stats.FEW:
            gap = f"{stats.mean(pairs):z.2f}" if pairs else wording.ABSENT
            found[row] = (said, str(len(pairs)), gap, wording.ABSENT, wording.ABSENT)
        else:
            limits = f"{interval.low:z.2f} to {interval.high:z.2f}"
            rule = "t" if len(pairs) < stats.MANY else "bootstrap"
            found[row] = (said, str(len(pairs)), f"{interval.mean:z.2f}", limits, rule)
    return found
