"""The commands that compare measurements: two rows, two folders of results, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssbench.analysis import mask_overlap
from ssbench.analysis.compare_folders import changes
from ssbench.analysis.compare_rows import Item, Receipt, receipt
from ssbench.analysis.find_row import find_row
from ssbench.analysis.mask_overlap import CAPTION, overlaps
from ssbench.analysis.rows import Row, by_table, make_rows
from ssbench.errors import BadInputError
from ssbench.storage.records import folders_below, read_runs


@dataclass(frozen=True)
class Where:
    """Where to look for two rows."""

    results: Path
    """A folder of records, or a folder of such folders."""
    model: str | None = None
    dataset: str | None = None


def compare(first: str, second: str, where: Where, console: Console) -> None:
    """Print the differences between two folders of results, or between two rows.

    Raises:
        BadInputError: a folder without records, or a missing row.
    """
    folders = Path(first), Path(second)
    if all(folder.is_dir() for folder in folders):
        _compare_folders(folders, console)
        return
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
    _print_receipt(receipt(*pair), console)


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


def _compare_folders(folders: tuple[Path, Path], console: Console) -> None:
    first, second = (make_rows(read_runs(folder))[0] for folder in folders)
    found = changes(first, second, folders)
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
    table = Table("", *columns, title=title, title_justify="left")
    for item in items:
        table.add_row(item.what, item.first, item.second)
    return table


def overlap(folder: Path, cache: Path | str | None, console: Console) -> None:
    """Print the overlap of every two methods' masks, from checkpoints if they exist.

    Args:
        folder: the folder of an experiment's records.
        cache: the stage checkpoints; None: ``.cache`` beside the folder, if it has them.
        console: where to print.

    Raises:
        BadInputError: no records, or neither checkpoints nor samples of masks.
    """
    rows, _ = make_rows(read_runs(folder))
    store = cache or folder.resolve().parent / ".cache"
    found = False
    for (dataset, model), group in by_table(rows).items():
        whole = cache is not None or mask_overlap.has_masks(group, store)
        pairs = mask_overlap.whole_overlaps(group, store) if whole else overlaps(group)
        _list(console, f"{model} on {dataset}", [str(pair) for pair in pairs])
        found = found or bool(pairs)
    if not found:
        raise BadInputError(
            f"{folder}: its records hold no samples of masks, and {store} no checkpoints; run the "
            "experiment again"
        )
    _say(console, CAPTION)


def _list(console: Console, title: str, items: Sequence[str]) -> None:
    if items:
        _say(console, f"{title}:")
        for item in items:
            _say(console, f"  {item}")


def _say(console: Console, words: str) -> None:
    console.print(words, markup=False, highlight=False, soft_wrap=True)
