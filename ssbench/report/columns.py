"""Columns of tables: how a measured row is written in each, and how a published one is."""

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
    """A column.

    Attributes:
        title: its header.
        write: gives a measured row's cell.
        quote: gives a published row's cell.
        error: the record's key of the error that is shown, whose best rows are bold; else None.
    """

    title: str
    write: Callable[[Row], str]
    quote: Callable[[Published], str] = _absent
    error: str | None = None


def counted(key: str) -> Callable[[Row], str]:
    """Write the mean of a count."""
    return lambda row: wording.count(row.mean(key))


def kept(unit: str) -> Callable[[Row], str]:
    """Write the share of a unit that is left, in percent."""
    return lambda row: _share(row, unit, pruned=False)


def pruned(unit: str) -> Callable[[Row], str]:
    """Write the share of a unit that is gone, in percent."""
    return lambda row: _share(row, unit, pruned=True)


def _share(row: Row, unit: str, *, pruned: bool) -> str:
    left = row.kept(unit)
    if left is None:
        return wording.ABSENT
    return wording.percent(1 - left.mean if pruned else left.mean)


def _error(key: str) -> Callable[[Row], str]:
    return lambda row: wording.error(row.spread(key)) if row.done else "failed"


def top1(title: str) -> Column:
    """The top-1 test error under a title: 'failed' where no run has a result."""
    key = "test_top1_error"
    return Column(title, _error(key), lambda quote: wording.fixed(quote.line.top1_error), key)


def top5(title: str) -> Column:
    """The top-5 test error under a title."""
    key = "test_top5_error"
    return Column(title, _error(key), lambda quote: wording.fixed(quote.line.top5_error), key)


SEEDS = Column("n", lambda row: str(len(row.done)))
PARAMS = Column("params", counted("params_nonzero"), lambda f: wording.count(f.line.params))
PARAMS_PRUNED = Column(
    "params pruned %", pruned("params"), lambda f: wording.percent(f.params_pruned)
)
MACS = Column("MACs", counted("macs_nonzero"), lambda f: wording.count(f.macs))
MACS_PRUNED = Column("MACs pruned %", pruned("macs"), lambda f: wording.percent(f.macs_pruned))
