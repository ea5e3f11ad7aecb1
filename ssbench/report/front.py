"""Which networks of many sizes are best for their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssbench import stats
from ssbench.report.columns import mean
from ssbench.report.rows import UNFAIR, Row


def smaller(row: Row, rows: Sequence[Row], key: str) -> Mapping[Row, dict[int, float]]:
    """Return the errors, by seed, of a row and its rivals: those that have no more params.

    A row has rivals with up to `UNFAIR` more params than its own too, as budgets are not met to
    the last weight. None, not even itself, where it has no rival or no result.

    Args:
        row: one of ``rows``.
        rows: of one data set, of any network.
        key: which error.
    """
    size = mean(row, "params_nonzero")
    if size is None or not row.values(key):
        return {}
    limit = size * (1 + UNFAIR)
    found = {
        other: values
        for other in rows
        if (params := mean(other, "params_nonzero")) is not None
        and params <= limit
        and (values := other.values(key))
    }
    return found if len(found) > 1 else {}


def front(rows: Sequence[Row], key: str) -> set[Row]:
    """Return the rows that are best, or not distinguishable from it, among those no larger.

    The same rule as within a budget (`ssbench.stats.best_rows`) where no two rows need have one
    size: a large network has to beat, or equal, all that are smaller. The smallest has no rival.

    Args:
        rows: of one data set, of any network.
        key: which error.
    """
    resolution = max((row.resolution for row in rows), default=0.0)
    return {row for row in rows if row in stats.best_rows(smaller(row, rows, key), resolution)}
