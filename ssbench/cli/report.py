"""Render reports from records, without torch."""

from __future__ import annotations

import gc
import re
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ssbench.analysis import claims as claims_
from ssbench.analysis.published import collect
from ssbench.errors import BadInputError, wrong
from ssbench.paths import bench_folder
from ssbench.report.formats.environment import FORMATS, OPTIONAL
from ssbench.report.index import Entry, write_index
from ssbench.report.paper.render import render_table
from ssbench.report.render import render as render_report
from ssbench.storage.files import make_folder
from ssbench.storage.records import folders_below
from ssbench.storage.view import USUAL, View, kept

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
        view: settings of the tables; what it leaves open is as the experiment says.
    """

    formats: Sequence[str] = FORMATS
    table: int | None = None
    out: Path | None = None
    claims: Sequence[Path] = ()
    published: Sequence[Path] = ()
    shipped: bool = True
    view: Mapping[str, Any] = field(default_factory=dict)

    def view_of(self, folder: Path | None) -> View:
        """Return what the tables show: these settings, else those kept beside the records.

        Raises:
            BadInputError: a setting that does not fit.
        """
        before = kept(folder) if folder else USUAL
        try:
            return View.model_validate(before.model_dump() | dict(self.view))
        except ValidationError as error:
            raise BadInputError(f"report: {wrong(error)}") from error


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
        view = options.view_of(None)
        return render_report(folders, out, options.formats, claims, published, view)
    sources = [source for folder in folders for source in _with_records(folder)]
    if options.table is not None:
        if options.view:
            raise BadInputError(
                f"--table {options.table}: the paper's tables have the paper's columns; leave out "
                f"--{', --'.join(options.view)}"
            )
        target = out or folders[0]
        make_folder(target, "--out")
        return render_table(options.table, sources, target, options.formats, published)
    written: list[Path] = []
    reports: list[Entry] = []
    for source in sources:
        target = source if out is None else out if source in folders else out / source.name
        make_folder(target, "--out")
        view = options.view_of(source)
        written += render_report(source, target, options.formats, claims, published, view)
        reports.append(Entry(source, target))
    if sources != list(folders):
        written += write_index(folders[0], out or folders[0], reports, options.formats)
    return written


def _with_records(folder: Path) -> list[Path]:
    """Return the folder, or its experiments' folders."""
    found = folders_below(folder)
    if not found:
        raise BadInputError(f"{folder}: no records (*.jsonl) here or one level below")
    return found


def view(
    columns: str | None, rows: str | None, sort: str | None, caption: str | None
) -> dict[str, Any]:
    """Return the settings of the tables that the command line gives."""
    given = {
        "columns": None if columns is None else _listed(columns),
        "rows": None if rows is None else _listed(rows),
        "sort": sort,
        "caption": caption,
    }
    return {name: value for name, value in given.items() if value is not None}


def _listed(text: str) -> list[str]:
    """Split at commas outside brackets, which names can have."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def open_page(written: Sequence[Path], launch: Callable[[str], bool] = webbrowser.open) -> None:
    """Open the report's page, or that of the index, in a browser.

    Raises:
        BadInputError: no page was written, or there is no browser.
    """
    pages = [path for path in written if path.suffix == ".html"]
    page = next((path for path in pages if path.name == "index.html"), pages[0] if pages else None)
    if page is None:
        raise BadInputError("--open: no page was written; add html to --format")
    if not launch(page.resolve().as_uri()):
        raise BadInputError(f"--open: no browser was found; open {page.resolve()} yourself")
