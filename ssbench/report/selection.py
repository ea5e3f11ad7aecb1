"""Choose the columns, rows, order and captions of tables by a `ssbench.storage.view.View`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ssbench.analysis import wording
from ssbench.analysis.find_row import address
from ssbench.analysis.rows import Row
from ssbench.errors import BadInputError, nearest
from ssbench.report.columns import Column
from ssbench.storage.schema import KEYS
from ssbench.storage.view import View

Value = Callable[[Row], float | None]
EVERYTHING = "docs/command-line.md"


@dataclass(frozen=True)
class Choice:
    """A column by its name.

    Attributes:
        value: by which rows can be sorted; None for a row without it comes last.
        csv: the columns of the CSV that hold it.
    """

    column: Column
    value: Value
    csv: tuple[str, ...]


def name_of(column: Column) -> str:
    """Return the name of a usual column: ``params-pruned`` for ``params pruned %``."""
    return re.sub(r"[^a-z]+", "-", column.title.lower().replace("%", "")).strip("-")


def choices(usual: Sequence[Column]) -> dict[str, Choice]:
    """Return all columns by name: the usual ones, and every number of a record."""
    values: dict[str, tuple[Value, tuple[str, ...]]] = {
        "params": (_mean("params_nonzero"), ("params_nonzero",)),
        "params-pruned": (_pruned("params"), ("params_dense", "params_nonzero")),
        "connections-kept": (_kept("connections"), ("connections_dense", "connections_nonzero")),
        "macs": (_mean("macs_nonzero"), ("macs_nonzero",)),
        "macs-pruned": (_pruned("macs"), ("macs_dense", "macs_nonzero")),
        "epochs": (_mean("epochs_total"), ("epochs_total",)),
        "threshold": (_mean("threshold"), ("threshold_mean", "threshold_sd")),
        "error-before-finetuning": (_before, ("test_top1_error_before_finetuning_mean",)),
    }
    found = {name_of(each): Choice(each, *values[name_of(each)]) for each in usual}
    for kind in ("error", "spread"):
        for key in KEYS.in_csv(kind):
            column = Column(_title(key), _spread(key))
            found[key] = Choice(column, _mean(key), (f"{key}_mean", f"{key}_sd"))
    for key in (*KEYS.in_csv("size"), *KEYS.in_csv("last")):
        found[key] = Choice(Column(_title(key), _count(key)), _mean(key), (key,))
    for key in KEYS.in_csv("total"):
        found[key] = Choice(Column(_title(key), _seconds(key)), _total(key), (key,))
    for key in set(KEYS.measured) - found.keys():
        if _is_number(key):
            found[key] = Choice(Column(_title(key), _count(key)), _mean(key), (key,))
    return found


def _is_number(key: str) -> bool:
    """Whether a key of a record holds one number."""
    kind = _words(str(KEYS.model.model_fields[key].annotation))
    return bool({"int", "float"} & kind) and key not in KEYS.nested


def _words(annotation: str) -> set[str]:
    """Return the words of an annotation."""
    return set(re.findall(r"\w+", annotation))


def chosen(view: View, usual: Sequence[Column]) -> list[Choice] | None:
    """Return the columns that a view asks for; None: the usual ones.

    Raises:
        BadInputError: an unknown column.
    """
    if view.columns is None:
        return None
    known = choices(usual)
    for name in view.columns:
        if name not in known:
            raise BadInputError(f"columns: {name!r}: {nearest(name, known, EVERYTHING)}")
    return [known[name] for name in dict.fromkeys(view.columns)]


def check_rows(rows: Sequence[Row], view: View) -> None:
    """Check that each pattern of a view fits some row.

    Raises:
        BadInputError: one fits none.
    """
    for pattern in view.rows or ():
        if not any(_fits(row, pattern) for row in rows):
            names = [name for row in rows for name in (row.name, row.like.method)]
            raise BadInputError(f"rows: {pattern!r}: no such row; {nearest(pattern, names)}")


def shown(rows: Sequence[Row], view: View) -> list[Row]:
    """Return the rows that a view shows, in their order."""
    if view.rows is None:
        return list(rows)
    return [row for row in rows if any(_fits(row, pattern) for pattern in view.rows)]


def _fits(row: Row, pattern: str) -> bool:
    # Brackets belong to names: "magnitude (connection)"; only * and ? stand for others.
    plain = pattern.replace("[", "[[]")
    names = (row.name, row.like.method, address(row), _at_share(row))
    return any(fnmatchcase(name, plain) for name in names)


def _at_share(row: Row) -> str:
    share = row.budget[0]
    return f"{row.like.method}@{share}"


def sorted_rows(rows: Sequence[Row], view: View, usual: Sequence[Column]) -> list[Row]:
    """Return the rows of one budget in the order of a view.

    Raises:
        BadInputError: nothing of this name to sort by.
    """
    if view.sort is None:
        return list(rows)
    name, reverse = view.sort.removeprefix("-"), view.sort.startswith("-")
    if name == "name":
        return sorted(rows, key=lambda row: row.name, reverse=reverse)
    known = {"error": _mean("test_top1_error")}
    known |= {key: choice.value for key, choice in choices(usual).items()}
    if name not in known:
        raise BadInputError(f"sort: {name!r}: {nearest(name, [*known, 'name'], EVERYTHING)}")
    value = known[name]
    keyed = [(value(row), row) for row in rows]
    sign = -1 if reverse else 1
    there = [pair for pair in keyed if pair[0] is not None]
    there.sort(key=lambda pair: sign * (pair[0] or 0.0))
    return [row for _, row in there] + [row for found, row in keyed if found is None]


def caption(full: str, short: str, view: View, hidden: int) -> str:
    """Return a table's caption, which says how many rows it does not show."""
    if view.caption == "none":
        return ""
    text = full if view.caption == "full" else short
    if not hidden:
        return text
    rows = "1 row is" if hidden == 1 else f"{hidden} rows are"
    return f"{text} {rows} not shown; bold and differences are by all rows."


def _title(key: str) -> str:
    words = key.replace("_", " ")
    return f"{words} %" if key.endswith("_error") else words


def _mean(key: str) -> Value:
    return lambda row: row.mean(key)


def _total(key: str) -> Value:
    def value(row: Row) -> float | None:
        found = row.total(key)
        return found.mean if found else None

    return value


def _before(row: Row) -> float | None:
    found = row.before("test_top1_error")
    return found.mean if found else None


def _kept(unit: str) -> Value:
    def value(row: Row) -> float | None:
        found = row.kept(unit)
        return found.mean if found else None

    return value


def _pruned(unit: str) -> Value:
    def value(row: Row) -> float | None:
        found = row.kept(unit)
        return 1 - found.mean if found else None

    return value


def _spread(key: str) -> Callable[[Row], str]:
    if key.endswith("_error"):
        return lambda row: wording.error(row.spread(key))
    return lambda row: wording.number(row.mean(key))


def _count(key: str) -> Callable[[Row], str]:
    if KEYS.model.model_fields[key].annotation == float | None:
        return lambda row: wording.number(row.mean(key))
    return lambda row: wording.count(row.mean(key))


def _seconds(key: str) -> Callable[[Row], str]:
    return lambda row: wording.number(_total(key)(row))
