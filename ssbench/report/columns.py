"""Columns of tables: the cell of a measured and of a published row in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssbench.analysis import wording
from ssbench.analysis.published import Published
from ssbench.analysis.rows import Row


def _absent(quote: Published) -> str:
    del quote
    return wording.ABSENT


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: the header.
        write: returns a measured row's cell.
        quote: returns a published row's cell.
        error: the record's key of the error that the column shows, with the best rows in bold; None
            for other columns.
    """

    title: str
    write: Callable[[Row], str]
    quote: Callable[[Published], str] = _absent
    error: str | None = None


def counted(key: str) -> Callable[[Row], str]:
    """Write the mean of a count."""
    return lambda row: wording.count(row.mean(key))


def kept(unit: str) -> Callable[[Row], str]:
    """Write the kept share of a unit, in percent."""
    return lambda row: _share(row, unit, pruned=False)


def pruned(unit: str) -> Callable[[Row], str]:
    """Write the pruned share of a unit, in percent."""
    return lambda row: _share(row, unit, pruned=True)


def _share(row: Row, unit: str, *, pruned: bool) -> str:
    left = row.kept(unit)
    if left is None:
        return wording.ABSENT
    return wording.percent(1 - left.mean if pruned else left.mean)


def _error(key: str) -> Callable[[Row], str]:
    return lambda row: wording.error(row.spread(key)) if row.done else "failed"


def top1(title: str) -> Column:
    """Make a column of top-1 test errors; 'failed' if no run has a result."""
    key = "test_top1_error"
    return Column(title, _error(key), lambda quote: wording.fixed(quote.line.top1_error), key)


def top5(title: str) -> Column:
    """Make a column of top-5 test errors."""
    key = "test_top5_error"
    return Column(title, _error(key), lambda quote: wording.fixed(quote.line.top5_error), key)


SEEDS = Column("n", lambda row: str(len(row.done)))
PARAMS = Column("params", counted("params_nonzero"), lambda f: wording.count(f.line.params))
PARAMS_PRUNED = Column(
    "params pruned %", pruned("params"), lambda f: wording.percent(f.params_pruned)
)
MACS = Column("MACs", counted("macs_nonzero"), lambda f: wording.count(f.macs))
MACS_PRUNED = Column("MACs pruned %", pruned("macs"), lambda f: wording.percent(f.macs_pruned))
