"""The results of experiments in Python and notebooks: tables, figures and verdicts.

>>> results = Results("results/quickstart")
>>> results.table(rows=["l0@0.02"])
>>> results.plot("error")
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import escape
from pydantic import ValidationError

from ssbench.analysis import claims as claims_
from ssbench.analysis.frame import load_results
from ssbench.analysis.merge import merge
from ssbench.analysis.published import collect
from ssbench.analysis.rows import Row, printed
from ssbench.analysis.verdicts import verdicts
from ssbench.errors import BadInputError, wrong
from ssbench.paths import bench_folder
from ssbench.report import frame
from ssbench.report.figures.chart import Figure, theme
from ssbench.report.page import Page, Section, make_merged_page, make_page
from ssbench.report.render import Drawn, as_text, drawn_for
from ssbench.report.selection import check_rows, shown
from ssbench.storage.records import folders_below, read_runs
from ssbench.storage.view import USUAL, Caption, View

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


class Results:
    """The results of an experiment, or of several side by side, read once.

    Args:
        path: a folder of records (``results/NAME``), or a folder of such folders.

    Attributes:
        path: the folder.

    Raises:
        BadInputError: no such folder, no records, or a line that is not a record.

    Examples:
        >>> results = ssbench.Results("results/reference/quickstart")
        >>> results
        Results('results/reference/quickstart'): 207 runs, vgg6 on digits
        >>> results.table(columns=["test error %", "n"], rows=["synaptic-strength@0.02"]).round(2)
                                                               test error %  n
        data set model budget             method
        digits   vgg6  2 % of connections synaptic-strength          1.93  3
    """

    def __init__(self, path: str | Path = "results") -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise BadInputError(f"{path}: no such folder; name one that holds records (*.jsonl)")
        self._folders = folders_below(self.path)
        if not self._folders:
            raise BadInputError(f"{path}: no records (*.jsonl) here or one level below")
        self._page = self._read(USUAL)

    def _read(self, view: View) -> Page:
        claims, published = claims_.shipped(bench_folder()), collect()
        if len(self._folders) == 1:
            return make_page(read_runs(self._folders[0]), claims, published, view)
        return make_merged_page(merge(self._folders), claims, published, view)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """All runs with all measurements, one row per run: see `ssbench.load_results`."""
        return load_results(self.path)

    @property
    def failed(self) -> dict[str, str]:
        """The runs without a result, and why."""
        return {failure.run: failure.reason for failure in self._page.failures}

    def table(
        self, columns: Sequence[str] | None = None, rows: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return the rows of the report as a table of numbers, which notebooks show rounded.

        Args:
            columns: titles of the report's table (``"test error %"``, ``"± sd"``, ``"n"``,
                ``"params"``, …), ``"best"`` (printed in bold), names as for
                ``ssbench report --columns``, or columns of ``report.csv``
                (``"test_top1_error_min"``); None: those of the report's table.
            rows: as for ``ssbench report --rows``: names or methods, with * for any characters, or
                ``"l0@0.02"``; None: all.

        Returns:
            A DataFrame with data set, model, budget and method as its index. Means over seeds;
            errors and shares in percent.

        Raises:
            BadInputError: no such column or row; names similar ones.

        Examples:
            >>> results = ssbench.Results("results/reference/quickstart")
            >>> table = results.table(["test error %", "best"], rows=["l0", "*slimming"])
            >>> int(table["best"].sum()), len(table)
            (8, 8)
        """
        every = [row for section in self._page.sections for row in printed(section.rows)]
        view = _view(rows=rows)
        check_rows(every, view)
        return frame.table(every, columns, shown(every, view))

    def plot(self, kind: str = "error", network: str | None = None) -> alt.Chart:
        """Return a figure of the report as an Altair chart.

        Args:
            kind: ``"error"``, ``"sizes"``, ``"pareto"``, ``"layers"``, ``"cost"``, …: the first
                word of a figure's file.
            network: the network, or ``"NETWORK on DATA SET"``, where the results have several.

        Raises:
            BadInputError: no such figure, or several networks have one; names what there is.

        Examples:
            >>> chart = ssbench.Results("results/reference/quickstart").plot("pareto")
            >>> chart.save("pareto.html")  # doctest: +SKIP
        """
        import altair as alt

        figure = self._figure(kind, network)
        config = theme(dark=False) | {"background": "white"}  # notebooks may be dark
        chart: alt.Chart = alt.Chart.from_dict(figure.spec | {"config": config})
        return chart

    def _figure(self, kind: str, network: str | None) -> Figure:
        groups: dict[str, list[Figure]] = {
            section.title: self._drawn.sections.get(section.stem, [])
            for section in self._page.sections
        }
        groups[""] = self._drawn.overall
        found = {
            title: figure
            for title, figures in groups.items()
            for figure in figures
            if figure.stem.partition("-")[0] == kind
        }
        if not found:
            kinds = dict.fromkeys(figure.stem.partition("-")[0] for figure in self._drawn.all)
            raise BadInputError(f"plot: no figure {kind!r}; there are {', '.join(kinds)}")
        fitting = [title for title in found if network in (None, title, title.partition(" on ")[0])]
        if len(fitting) != 1:
            which = "several networks have it" if fitting else f"none of {network!r}"
            raise BadInputError(
                f"plot: {kind!r}: {which}; choose network = one of {', '.join(map(repr, found))}"
            )
        return found[fitting[0]]

    @cached_property
    def _drawn(self) -> Drawn:
        return drawn_for(self._page)

    def to_latex(
        self,
        columns: Sequence[str] | None = None,
        rows: str | Sequence[str] | None = None,
        sort: str | None = None,
        caption: Caption = "full",
    ) -> str:
        r"""Return the report's tables as LaTeX, as in ``report.tex`` but without figures.

        The document that inputs it loads booktabs and graphicx.

        Args:
            columns: as for ``ssbench report --columns``.
            rows: as for ``ssbench report --rows``.
            sort: as for ``ssbench report --sort``.
            caption: full, short or none.

        Raises:
            BadInputError: no such column or row.

        Examples:
            >>> latex = ssbench.Results("results/reference/quickstart").to_latex()
            >>> latex.count(r"\begin{table}")
            3
        """
        view = _view(columns=columns, rows=rows, sort=sort, caption=caption)
        return as_text(self._read(view) if view != USUAL else self._page, "tex")

    def verdicts(self) -> pd.DataFrame:
        """Return the verdict on every two neighbours in the order of mean test error.

        Returns:
            One line per pair: ``data set``, ``model``, ``budget``, the ``first`` row (with the
            lower error) and the ``second``, the ``verdict`` in words, and the paired
            ``difference`` of their errors in percentage points, with its interval from ``low`` to
            ``high``.

        Examples:
            >>> verdicts = ssbench.Results("results/reference/quickstart").verdicts()
            >>> better = verdicts[verdicts["low"] > 0]
            >>> print(better[["first", "second", "difference"]].round(2).to_string(index=False))
                        first                             second  difference
            synaptic-strength magnitude (weight, by connections)        3.67
        """
        import pandas as pd

        return pd.DataFrame([line for s in self._page.sections for line in _judged(s)], columns=_OF)

    def __repr__(self) -> str:
        runs = sum(len(row.done) + len(row.failed) for row in self._page.rows)
        titles = ", ".join(section.title for section in self._page.sections)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"Results({str(self.path)!r}): {runs} runs{failed}, {titles}"

    def _repr_html_(self) -> str:
        """Return the headline and the tables, for a notebook."""
        said = escape(" ".join(self._page.headline))
        captions = (section.table.caption for section in self._page.sections)
        notes = "".join(f"<p><small>{escape(caption)}</small></p>" for caption in captions)
        table: Any = self.table()
        return f"<p>{said}</p>{table._repr_html_()}{notes}"


def _view(rows: str | Sequence[str] | None, **given: Any) -> View:
    """Return how tables look; a text stands for a list of one.

    Raises:
        BadInputError: a value does not fit.
    """
    wanted = {"rows": [rows] if isinstance(rows, str) else rows, **given}
    lists = {key: list(value) for key, value in wanted.items() if isinstance(value, tuple)}
    try:
        return View.model_validate(wanted | lists)
    except ValidationError as error:
        raise BadInputError(wrong(error, "view")) from error


_OF = ["data set", "model", "budget", "first", "second", "verdict", "difference", "low", "high"]


def _judged(section: Section) -> list[tuple[object, ...]]:
    rows: Sequence[Row] = section.rows
    table = section.table
    lines = []
    for pair in verdicts(rows):
        interval = pair.verdict.interval
        numbers = (interval.mean, interval.low, interval.high) if interval else (None, None, None)
        names = (pair.budget, pair.first, pair.second, pair.said)
        lines.append((table.dataset, table.model, *names, *numbers))
    return lines
