"""`ssbench compare`: two rows, or two folders of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssbench.analysis.compare_folders import Changed, Changes, changes
from ssbench.analysis.compare_rows import Item, Receipt, receipt
from ssbench.analysis.find_row import find_row
from ssbench.analysis.rows import Row, make_rows
from ssbench.cli.outputs import CompareOutput, ItemFacts, RowChange
from ssbench.errors import BadInputError
from ssbench.storage.records import folders_below, read_runs


@dataclass(frozen=True)
class Where:
    """Where to look for two rows."""

    results: Path
    """A folder of records, or a folder of such folders."""
    model: str | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class FolderPair:
    """Two folders of results and what changed between them."""

    folders: tuple[Path, Path]
    changes: Changes


def compare(first: str, second: str, where: Where) -> Receipt | FolderPair:
    """Find the differences between two folders of results, or between two rows.

    Raises:
        BadInputError: a folder without records, or a missing row.
    """
    folders = Path(first), Path(second)
    if all(folder.is_dir() for folder in folders):
        one, two = (make_rows(read_runs(folder))[0] for folder in folders)
        return FolderPair(folders, changes(one, two, folders))
    for name, other, folder in zip((first, second), (second, first), folders, strict=True):
        if folder.is_dir() and any(folder.glob("*.jsonl")):
            raise BadInputError(
                f"{other}: not a folder, but {name} is one; name two folders of records, or two "
                "rows and their folder with --results"
            )
    rows = read_rows(where)
    pair = [find_row(rows, name) for name in (first, second)]
    for row, name in zip(pair, (first, second), strict=True):
        if not row.done:
            raise BadInputError(f"{name}: all its runs failed, so there is nothing to compare")
    return receipt(*pair)


def show(found: Receipt | FolderPair, console: Console) -> None:
    """Print the differences as lists and tables."""
    if isinstance(found, FolderPair):
        _print_changes(found, console)
    else:
        _print_receipt(found, console)


def output(found: Receipt | FolderPair) -> CompareOutput:
    """Return the differences for ``--json``."""
    if isinstance(found, FolderPair):
        changed = found.changes
        return CompareOutput(
            kind="folders",
            first=str(found.folders[0]),
            second=str(found.folders[1]),
            conditions=list(changed.conditions),
            rows=[_change(row) for row in changed.rows],
            only_first=list(changed.only_first),
            only_second=list(changed.only_second),
            summary=changed.summary(),
        )
    judged = found.verdict
    return CompareOutput(
        kind="rows",
        first=found.first,
        second=found.second,
        differences=_items(found.differences),
        settings=_items(found.settings),
        costs=_items(found.costs),
        sizes=_items(found.sizes),
        verdict=f"{judged.first} before {judged.second}: {judged.said}" if judged else None,
    )


def _items(items: Sequence[Item]) -> list[ItemFacts]:
    return [ItemFacts(what=each.what, first=each.first, second=each.second) for each in items]


def _change(row: Changed) -> RowChange:
    known = row.interval
    return RowChange(
        row=row.name,
        kind=row.kind,
        points=known.mean if known else None,
        interval=(known.low, known.high) if known else None,
        sizes=list(row.sizes),
    )


def read_rows(where: Where) -> list[Row]:
    """Read all rows of a folder of records, or of its subfolders.

    Raises:
        BadInputError: no records.
    """
    folders = folders_below(where.results) or [where.results]
    rows = [row for folder in folders for row in make_rows(read_runs(folder))[0]]
    return [
        row
        for row in rows
        if where.model in (None, row.like.model) and where.dataset in (None, row.like.dataset)
    ]


def _print_changes(pair: FolderPair, console: Console) -> None:
    folders, found = pair.folders, pair.changes
    _list(console, "Changed conditions", found.conditions)
    _list(console, "Rows", [str(row) for row in found.rows])
    _list(console, f"Only in {folders[0]}", found.only_first)
    _list(console, f"Only in {folders[1]}", found.only_second)
    _say(console, found.summary())


def _print_receipt(found: Receipt, console: Console) -> None:
    titles = (found.first, found.second)
    unequal = "Differences besides the method"
    if found.differences:
        console.print(_table(unequal, titles, found.differences))
    else:
        _say(console, f"{unequal}: nothing")
    _list(console, "The same for both", [f"{what}: {value}" for what, value in found.equal])
    for title, items in (
        ("Hyper-parameters", found.settings),
        ("Cost per seed", found.costs),
        ("Result", found.sizes),
    ):
        if items:
            console.print(_table(title, titles, items))
    judged = found.verdict
    if judged is None:
        _say(console, "Not judged: the two rows were measured on different images.")
        return
    _say(console, f"{judged.first} before {judged.second}: {judged.said}")


def _table(title: str, columns: tuple[str, str], items: Sequence[Item]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("", *columns):
        table.add_column(name, overflow="fold")
    for item in items:
        table.add_row(item.what, item.first, item.second)
    return table


def _list(console: Console, title: str, items: Sequence[str]) -> None:
    if items:
        _say(console, f"{title}:")
        for item in items:
            _say(console, f"  {item}")


def _say(console: Console, words: str) -> None:
    console.print(words, markup=False, highlight=False, soft_wrap=True)
