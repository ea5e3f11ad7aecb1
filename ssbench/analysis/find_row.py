"""Find a row by user input: its name as the tables print it, and its budget.

>>> find_row(rows, "magnitude (connection)@0.05")
"""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.analysis import wording
from ssbench.analysis.rows import Asked, Row
from ssbench.errors import BadInputError, few, nearest


def find_row(rows: Sequence[Row], written: str) -> Row:
    """Return the row for NAME, NAME@SHARE or NAME@SHARE:UNIT.

    Args:
        rows: the rows to search.
        written: a name as in the tables, or a part that only one name has; a share of 1, a
            percentage ("5%") or "own"; a unit if the name has budgets of several.

    Raises:
        BadInputError: no row or several rows fit.
    """
    name, at, budget = written.partition("@")
    named = find_rows(rows, name)
    wanted, _, unit = budget.partition(":")
    if at:
        asked = _share(wanted, written)
        fitting = [r for r in named if r.budget[0] == asked and unit in ("", r.budget[1])]
    else:
        fitting = named
    if len(fitting) == 1:
        return fitting[0]
    options = list(dict.fromkeys(address(row) for row in (fitting or named)))
    if fitting and len(options) == 1:
        places = wording.listing(sorted({_place(row) for row in fitting}))
        raise BadInputError(
            f"{written}: {len(fitting)} rows of this name and budget ({places}); choose a network "
            "(--model), data set (--dataset) or experiment (--results, its own folder)"
        )
    problem = "several rows fit" if fitting else "no row with this budget"
    raise BadInputError(f"{written}: {problem}; write one of: {few(options)}")


def _place(row: Row) -> str:
    like = row.like
    return f"{like.model} on {like.dataset} in {like.experiment}"


def find_rows(rows: Sequence[Row], name: str) -> list[Row]:
    """Return the rows with a name, or with the only name that contains it.

    Raises:
        BadInputError: no name or several names fit.
    """
    names = list(dict.fromkeys(row.name for row in rows))
    fitting = [n for n in names if n == name] or [n for n in names if name and name in n]
    if not fitting:
        raise BadInputError(f"{name}: no row of this name; {nearest(name, names)}")
    if len(fitting) > 1:
        raise BadInputError(f"{name}: several rows fit; write one of: {few(fitting)}")
    return [row for row in rows if row.name == fitting[0]]


def address(row: Row) -> str:
    """Write a row so that `find_row` finds it."""
    asked, unit = row.budget
    if asked is None:
        return row.name
    share = asked if asked == "own" else f"{asked:g}"
    return f"{row.name}@{share}:{unit}"


def title(row: Row) -> str:
    """Write a row for people: 'magnitude (connection) at 5 % of connections'."""
    return row.name if row.is_dense else f"{row.name} at {wording.asked(*row.budget)}"


def _share(wanted: str, written: str) -> Asked:
    if wanted == "own":
        return "own"
    try:
        return float(wanted[:-1]) / 100 if wanted.endswith("%") else float(wanted)
    except ValueError:
        raise BadInputError(
            f"{written}: {wanted!r} is not a share; write for example @0.05, @5% or @own"
        ) from None
