"""A folder of records -> the files of its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssbench.errors import BadInputError
from ssbench.report import captions
from ssbench.report.csv import as_csv
from ssbench.report.figures import draw, inline
from ssbench.report.frame import as_parquet
from ssbench.report.merge import merge
from ssbench.report.output import FORMATS, OPTIONAL, check, environment, write
from ssbench.report.page import Page, make_merged_page, make_page
from ssbench.report.published import Published
from ssbench.report.records import read_runs


def render(
    folders: Path | Sequence[Path],
    out: Path,
    formats: Sequence[str],
    claims: Sequence[Path] = (),
    published: Sequence[Published] = (),
) -> list[Path]:
    """Write the report of an experiment, or one of several experiments.

    Args:
        folders: of the records, one or several; they are only read.
        out: where the files go; made if it is not there.
        formats: some of `ssbench.report.FORMATS` and `ssbench.report.OPTIONAL`. All but CSV and
            Parquet bring one figure per (data set, model) with them as SVG and PNG, LaTeX also as
            PDF.
        claims: files of claims, see `ssbench.report.claims`.
        published: rows of the literature; a table shows those of its network and data set.

    Returns:
        The files written.

    Raises:
        BadInputError: no records, a line that is not a record, several experiments in one
            folder, a format that is not known or whose library is missing, a file of claims that
            does not fit, or ``out`` cannot be written.
    """
    check(formats, (*FORMATS, *OPTIONAL))
    several = [folders] if isinstance(folders, Path) else folders
    if len(several) == 1:
        page = make_page(read_runs(several[0]), claims, published)
    else:
        page = make_merged_page(merge(several), claims, published)
    files: dict[str, bytes] = {}
    figures = _figures(page, formats) if set(formats) - {"csv", "parquet"} else {}
    for stem, drawn in figures.items():
        files |= {f"{stem}.{kind}": content for kind, content in drawn.items()}
    files |= {f"report.{kind}": _content(page, kind, figures) for kind in dict.fromkeys(formats)}
    return write(out, files)


Figures = dict[str, dict[str, bytes]]


def _figures(page: Page, formats: Sequence[str]) -> Figures:
    kinds = ["svg", "png", *(["pdf"] if "tex" in formats else [])]
    drawn = {section.stem: draw(section.rows, kinds) for section in page.sections}
    return {stem: files for stem, files in drawn.items() if files}


def _content(page: Page, kind: str, figures: Figures) -> bytes:
    if kind == "csv":
        return as_csv(page.rows, page.published).encode()
    if kind == "parquet":
        return _parquet(page)
    drawings = {stem: inline(files["svg"], stem) for stem, files in figures.items()}
    template = environment(kind).get_template(f"report.{kind}.j2")
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
