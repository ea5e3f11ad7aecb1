"""Render reports from records, without torch."""

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
    """Options for rendering.

    Attributes:
        formats: see `ssbench.report.render`.
        table: one of the paper's tables; None for the report.
        out: where to write; None: beside the records. Several folders require it.
        claims: files of claims, in addition to those that ship with ssbench.
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
    """Pause the garbage collector: it takes a fifth of the time, and records all stay alive."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_uncollected()
def render_folders(folders: Sequence[Path], options: Rendering) -> list[Path]:
    """Render a report per experiment of a results folder, or one report of several folders.

    One of the paper's tables covers all these experiments.

    Args:
        folders: one folder of records or of such folders; or several of records, for one report.
        options: what to render.

    Raises:
        BadInputError: an unknown format, no records, several folders without ``options.out``, an
            invalid file of claims or published rows, or nothing that fits in the table.
    """
    out = options.out
    known = (*FORMATS, *OPTIONAL)
    if set(options.formats) - set(known) or not options.formats:
        raise BadInputError(f"--format {','.join(options.formats)}: known: {', '.join(known)}")
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError(f"{folder}: no such folder; name one that holds records (*.jsonl)")
    if len(folders) > 1 and out is None:
        raise BadInputError("several folders in one report: give its folder with --out")
    claims = [*claims_.shipped(bench_folder()), *options.claims]
    published = collect(options.published, shipped=options.shipped)
    if len(folders) > 1 and out is not None and options.table is None:
        make_folder(out, "--out")
        return render_report(folders, out, options.formats, claims, published)
    sources = [source for folder in folders for source in _with_records(folder)]
    if options.table is not None:
        target = out or folders[0]
        make_folder(target, "--out")
        return render_table(options.table, sources, target, options.formats, published)
    written: list[Path] = []
    for source in sources:
        target = source if out is None else out if source in folders else out / source.name
        make_folder(target, "--out")
        written += render_report(source, target, options.formats, claims, published)
    return written


def _with_records(folder: Path) -> list[Path]:
    """Return the folder, or its experiments' folders."""
    found = folders_below(folder)
    if not found:
        raise BadInputError(f"{folder}: no records (*.jsonl) here or one level below")
    return found
