"""A folder of records -> the files of its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssbench.report import captions
from ssbench.report.csv import as_csv
from ssbench.report.figures import draw, inline
from ssbench.report.output import check, environment, write
from ssbench.report.page import Page, make_page
from ssbench.report.published import Published
from ssbench.report.records import read_runs


def render(
    folder: Path, out: Path, formats: Sequence[str], published: Sequence[Published] = ()
) -> list[Path]:
    """Write the report of an experiment.

    Args:
        folder: of the records; they are only read.
        out: where the files go; made if it is not there.
        formats: some of `ssbench.report.FORMATS`. All but CSV bring one figure per (data set,
            model) with them as SVG and PNG, LaTeX also as PDF.
        published: rows of the literature; a table shows those of its network and data set.

    Returns:
        The files written.

    Raises:
        BadInputError: no records, a line that is not a record, several experiments in one
            folder, a format that is not known, or ``out`` cannot be written.
    """
    check(formats)
    page = make_page(read_runs(folder), published)
    files: dict[str, bytes] = {}
    figures = _figures(page, formats) if set(formats) - {"csv"} else {}
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
    drawings = {stem: inline(files["svg"], stem) for stem, files in figures.items()}
    template = environment(kind).get_template(f"report.{kind}.j2")
    return template.render(
        page=page, drawings=drawings, surgery_caption=captions.SURGERY_CAPTION
    ).encode()
