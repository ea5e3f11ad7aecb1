"""Render a folder of records as the files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbench.analysis.frame import as_parquet
from ssbench.analysis.limits import NOTHING_OPEN
from ssbench.analysis.merge import merge
from ssbench.analysis.published import Published, matching
from ssbench.analysis.rows import Row
from ssbench.errors import BadInputError
from ssbench.paths import install
from ssbench.report import captions
from ssbench.report.figures import draw, draw_overall
from ssbench.report.figures.chart import Figure
from ssbench.report.figures.embed import as_json, charts
from ssbench.report.figures.error_size import Reference
from ssbench.report.figures.export import KINDS, convert
from ssbench.report.figures.style import Looks
from ssbench.report.formats.csv import as_csv
from ssbench.report.formats.drilldown import drilldown
from ssbench.report.formats.environment import FORMATS, OPTIONAL, check, environment, write
from ssbench.report.page import SETUP, Page, make_merged_page, make_page
from ssbench.report.tables import arranged, csv_columns
from ssbench.storage.records import read_runs
from ssbench.storage.view import USUAL, View

TEXTS = ("md", "tex", "html")
"""The text formats; each table gets its figure as a file."""


def render(
    folders: Path | Sequence[Path],
    out: Path,
    formats: Sequence[str],
    claims: Sequence[Path] = (),
    published: Sequence[Published] = (),
    view: View = USUAL,
) -> list[Path]:
    """Write the report of one experiment, or a joint report of several.

    Args:
        folders: one or several folders of records; they are only read.
        out: the folder for the files; made if missing.
        formats: some of `ssbench.report.FORMATS` and `ssbench.report.OPTIONAL`. Markdown, LaTeX
            and HTML come with one figure per (data set, model) as SVG and PNG, LaTeX also as PDF;
            "svg", "png" and "pdf" write every figure in that format.
        claims: files of claims, see `ssbench.analysis.claims`.
        published: rows of the literature; a table shows those of its network and data set.
        view: what the tables show, and how.

    Returns:
        The files written.

    Raises:
        BadInputError: no records, a line that is not a record, several experiments in one folder,
            an unknown format or one whose library is missing, a file of claims that does not match,
            a row or column that does not exist, or ``out`` cannot be written.
    """
    check(formats, (*FORMATS, *OPTIONAL))
    several = [folders] if isinstance(folders, Path) else folders
    if len(several) == 1:
        page = make_page(read_runs(several[0]), claims, published, view)
    else:
        page = make_merged_page(merge(several), claims, published, view)
    files: dict[str, bytes] = {}
    drawn = drawn_for(page) if set(formats) - {"csv", "parquet"} else Drawn({}, [])
    files |= _images(drawn, formats)
    for kind in dict.fromkeys(formats):
        if kind not in KINDS:
            files[f"report.{kind}"] = _content(page, kind, drawn)
    return write(out, files)


@dataclass(frozen=True)
class Drawn:
    """The figures of a page: by section stem, and those that cover all tables."""

    sections: dict[str, list[Figure]]
    overall: list[Figure]

    @property
    def all(self) -> list[Figure]:
        """Every figure, in the order of the page."""
        return [figure for group in (*self.sections.values(), self.overall) for figure in group]

    @property
    def first(self) -> dict[str, Figure]:
        """The figure beside each table, by its stem."""
        return {stem: group[0] for stem, group in self.sections.items() if group[0].stem == stem}


def drawn_for(page: Page) -> Drawn:
    """Draw every figure of a page that has data."""
    looks = Looks.of(page.rows)
    drawn = {}
    for section in page.sections:
        like = section.rows[0].like
        quoted = _references(matching(page.published, like.dataset, like.model))
        if figures := draw(section.rows, looks, section.label, quoted):
            drawn[section.stem] = figures
    return Drawn(drawn, draw_overall([section.rows for section in page.sections], looks))


def _references(published: Sequence[Published]) -> list[Reference]:
    """Return the published rows that have an error and a size to draw."""
    references = []
    for row in published:
        known = {"params": row.line.params, "macs": row.macs}
        sizes = {unit: size for unit, size in known.items() if size is not None}
        if sizes and row.line.top1_error is not None:
            references.append(Reference(row.name, row.line.source, row.line.top1_error, sizes))
    return references


def _images(drawn: Drawn, formats: Sequence[str]) -> dict[str, bytes]:
    """Return figures as files: each table's own with every text format, all on request."""
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
        shown = arranged(page.rows, page.view)
        return as_csv(page.rows, page.published, shown, csv_columns(page.view)).encode()
    if kind == "parquet":
        return _parquet(page)
    template = environment(kind).get_template(f"report.{kind}.j2")
    return template.render(
        page=page,
        drawings=drawn.first,
        figures=drawn,
        charts=charts(drawn.all) if kind == "html" else None,
        runs=as_json(drilldown(_opened(page))) if kind == "html" else "",
        details=captions.details(page.view.caption),
        nothing_open=NOTHING_OPEN,
        setup=SETUP,
    ).encode()


def as_text(page: Page, kind: str) -> str:
    """Return a report without its figures, as Markdown or LaTeX ("md", "tex")."""
    return _content(page, kind, Drawn({}, [])).decode()


def _opened(page: Page) -> dict[str, list[Row]]:
    """Return the rows whose runs a page shows: each table's printed rows, then those of figures."""
    found = {}
    for section in page.sections:
        shown = dict.fromkeys(section.table.shown)
        found[section.stem] = list(shown | dict.fromkeys(section.rows))
    return found


def _parquet(page: Page) -> bytes:
    try:
        return as_parquet([run for row in page.rows for run in (*row.done, *row.failed)])
    except ImportError as error:
        raise BadInputError(
            f"--format parquet: {error.name or 'pyarrow'} is missing; {install('parquet')}"
        ) from error
