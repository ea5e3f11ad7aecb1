"""Put a report in its formats and write the files, each in whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from ssbench.errors import BadInputError
from ssbench.report import captions, text
from ssbench.report.csv import as_csv
from ssbench.report.figures import KINDS, Figure, Looks, convert, draw, draw_overall
from ssbench.report.figures.embed import charts
from ssbench.report.frame import as_parquet
from ssbench.report.merge import merge
from ssbench.report.page import Page, make_merged_page, make_page
from ssbench.report.records import read_runs

FORMATS = ("md", "tex", "html", "csv")
"""What is written unless other formats are asked for."""
TEXTS = ("md", "tex", "html")
OPTIONAL = ("parquet", *KINDS)
"""What is written on request: all runs as one table, and every figure as a file."""


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
        formats: some of `FORMATS` and `OPTIONAL`. Markdown, LaTeX and HTML bring one figure per
            (data set, model) with them as SVG and PNG, LaTeX also as PDF; "svg", "png" and "pdf"
            write every figure so.
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
    drawn = _draw(page) if set(formats) - {"csv", "parquet"} else Drawn({}, [])
    files |= _images(drawn, formats)
    for kind in dict.fromkeys(formats):
        if kind not in KINDS:
            files[f"report.{kind}"] = _content(page, kind, drawn)
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


@dataclass(frozen=True)
class Drawn:
    """The figures of a page: by the stem of their section, and those of all tables together."""

    sections: dict[str, list[Figure]]
    overall: list[Figure]

    @property
    def all(self) -> list[Figure]:
        """Every figure, in the order of the page."""
        return [figure for group in (*self.sections.values(), self.overall) for figure in group]

    @property
    def first(self) -> dict[str, Figure]:
        """The figure that stands beside each table, by its stem."""
        return {stem: group[0] for stem, group in self.sections.items() if group[0].stem == stem}


def _draw(page: Page) -> Drawn:
    looks = Looks.of(page.rows)
    drawn = {s.stem: draw(s.rows, looks, s.label) for s in page.sections}
    return Drawn({stem: group for stem, group in drawn.items() if group},
                 draw_overall(page.rows, looks))  # fmt: skip


def _images(drawn: Drawn, formats: Sequence[str]) -> dict[str, bytes]:
    """The figures as files: each table's own with every text format, all of them on request."""
    kinds = {"svg", "png", *(["pdf"] if "tex" in formats else [])}
    wanted = {
        f"{figure.stem}.{kind}": (figure, kind)
        for figure in drawn.first.values()
        for kind in sorted(kinds)
        if set(formats) & set(TEXTS)
    }
    wanted |= {
        f"{figure.stem}.{kind}": (figure, kind)
        for kind in KINDS
        if kind in formats
        for figure in drawn.all
    }
    return {name: convert(figure.spec, kind) for name, (figure, kind) in wanted.items()}


def _content(page: Page, kind: str, drawn: Drawn) -> bytes:
    if kind == "csv":
        return as_csv(page.rows).encode()
    if kind == "parquet":
        return _parquet(page)
    template = _environment(kind).get_template(f"report.{kind}.j2")
    return template.render(
        page=page,
        drawings=drawn.first,
        figures=drawn,
        charts=charts(drawn.all) if kind == "html" else None,
        surgery_caption=captions.SURGERY_CAPTION,
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
