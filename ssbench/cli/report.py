"""What the commands do that only read records: no torch is imported for them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssbench.analysis import claims as claims_
from ssbench.analysis.published import collect
from ssbench.errors import BadInputError
from ssbench.paths import bench_folder
from ssbench.report.formats.environment import FORMATS, OPTIONAL
from ssbench.report.paper.render import render_table
from ssbench.report.render import render as render_report
from ssbench.storage.files import make_folder
from ssbench.storage.records import folders_below

Record = dict[str, Any]


@dataclass(frozen=True)
class Rendering:
    """What to render of records, and how.

    Attributes:
        formats: see `ssbench.report.render`.
        table: one of the paper's tables; None for the report.
        out: where to write; None for beside the records. Several folders need one.
        claims: files of claims, beside those that ship with ssbench.
        published: files of published rows.
        shipped: whether to show the published rows that ship with ssbench too.
    """

    formats: Sequence[str] = FORMATS
    table: int | None = None
    out: Path | None = None
    claims: Sequence[Path] = ()
    published: Sequence[Path] = ()
    shipped: bool = True


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage: among records, which all stay, that takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_uncollected()
def render_folders(folders: Sequence[Path], options: Rendering) -> list[Path]:
    """Render the report of a results folder, of every experiment under it, or of several together.

    One of the paper's tables is of all these experiments together.

    Args:
        folders: one, of records or of such folders; or several of records, for one report.
        options: what of them, and how.

    Raises:
        BadInputError: a format that is not known, no records, several folders without
            ``options.out``, a file of claims or published rows that is none, or nothing that fits
            in the table.
    """
    out = options.out
    known = (*FORMATS, *OPTIONAL)
    if set(options.formats) - set(known) or not options.formats:
        raise BadInputError(f"--format {','.join(options.formats)}: known: {', '.join(known)}")
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError(f"{folder}: no such folder; name one that holds records (*.jsonl)")
    if len(folders) > 1 and out is None:
        raise BadInputError("several folders in one report: say with --out where to write it")
    claims = [*claims_.shipped(bench_folder()), *options.claims]
    published = collect(options.published, shipped=options.shipped)
    if len(folders) > 1 and out is not None and options.table is None:
        make_folder(out, "--out")
        return render_report(folders, out, options.formats, claims, published)
    found = [source for folder in folders for source in _with_records(folder)]
    if options.table is not None:
        target = out or folders[0]
        make_folder(target, "--out")
        return render_table(options.table, found, target, options.formats, published)
    written: list[Path] = []
    for source in found:
        target = source if out is None else out if source in folders else out / source.name
        make_folder(target, "--out")
        written += render_report(source, target, options.formats, claims, published)
    return written


def _with_records(folder: Path) -> list[Path]:
    """The folder, or those of every experiment under it."""
    found = folders_below(folder)
    if not found:
        raise BadInputError(f"{folder}: no records (*.jsonl) here or one level below")
    return found
