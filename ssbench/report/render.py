"""Put a report in its formats and write the files, each in whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2

from ssbench.errors import BadInputError
from ssbench.report import captions, text
from ssbench.report.csv import as_csv
from ssbench.report.frame import as_parquet
from ssbench.report.merge import merge
from ssbench.report.page import Page, make_merged_page, make_page
from ssbench.report.records import read_runs

FORMATS = ("md", "tex", "html", "csv")
"""What is written unless other formats are asked for."""
OPTIONAL = ("parquet",)
"""What needs a library that is not always installed."""


def render(
    folders: Path | Sequence[Path],
    out: Path,
    formats: Sequence[str],
    claims: Sequence[Path] = (),
) -> list[Path]:
    """Write the report of an experiment, or one of several experiments.

    Args:
        folders: of the records, one or several; they are only read.
        out: where the files go; made if it is not there.
        formats: some of `FORMATS` and `OPTIONAL`. All but CSV and Parquet bring one figure per
            (data set, model) with them as SVG and PNG, LaTeX also as PDF.
        claims: files of claims, see `ssbench.report.claims`.

    Returns:
        The files written.

    Raises:
        BadInputError: no records, a line that is not a record, several experiments in one
            folder, a format that is not known or whose library is missing, a file of claims that
            does not fit, or ``out`` cannot be written.
    """
    known = (*FORMATS, *OPTIONAL)
    unknown = sorted(set(formats) - set(known))
    if unknown:
        raise BadInputError(f"{', '.join(unknown)}: not a format; known: {', '.join(known)}")
    page = _page([folders] if isinstance(folders, Path) else folders, claims)
    files: dict[str, bytes] = {}
    figures = _figures(page, formats) if set(formats) - {"csv", "parquet"} else {}
    for stem, drawn in figures.items():
        files |= {f"{stem}.{kind}": content for kind, content in drawn.items()}
    files |= {f"report.{kind}": _content(page, kind, figures) for kind in dict.fromkeys(formats)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [_write(out / name, content) for name, content in files.items()]
    except OSError as error:
        raise BadInputError(
            f"{out}: cannot be written ({error.strerror}); choose another folder"
        ) from error


def _page(folders: Sequence[Path], claims: Sequence[Path]) -> Page:
    if len(folders) == 1:
        return make_page(read_runs(folders[0]), claims)
    return make_merged_page(merge(folders), claims)


Figures = dict[str, dict[str, bytes]]


def _figures(page: Page, formats: Sequence[str]) -> Figures:
    kinds = ["svg", "png", *(["pdf"] if "tex" in formats else [])]
    drawn = {section.stem: draw(section.rows, kinds) for section in page.sections}
    return {stem: files for stem, files in drawn.items() if files}


def _content(page: Page, kind: str, figures: Figures) -> bytes:
    if kind == "csv":
        return as_csv(page.rows).encode()
    if kind == "parquet":
        return _parquet(page)
    drawings = {stem: inline(files["svg"], stem) for stem, files in figures.items()}
    template = _environment(kind).get_template(f"report.{kind}.j2")
    return template.render(
        page=page, drawings=drawings, surgery_caption=captions.SURGERY_CAPTION
    ).encode()


def _parquet(page: Page) -> bytes:
    try:
        return as_parquet([run for row in page.rows for run in (*row.done, *row.failed)])
    except ImportError as error:
        raise BadInputError(
            f"--format parquet: {error.name or 'pyarrow'} is missing; pip install ssbench[parquet]"
        ) from error


def _environment(kind: str) -> jinja2.Environment:
    """Make the environment in which everything printed is escaped for the format."""
    escapes: dict[str, Callable[[object], str]] = {"tex": text.tex, "md": text.markdown}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssbench.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=kind == "html",  # noqa: S701 -- for the others, finalize escapes
        finalize=escapes.get(kind),
    )
    if kind != "tex":
        return environment
    # LaTeX has braces, percent and number signs of its own.
    return environment.overlay(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )


def _write(path: Path, content: bytes) -> Path:
    """Replace a file in whole; a reader sees the old content or the new."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)  # mkstemp's 0600 would hide the report from colleagues
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path
