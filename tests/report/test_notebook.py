"""`ssbench.Results`: what reports print, as numbers, figures and LaTeX."""

import pickle
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ssbench
from ssbench.report import frame
from tests.support.paths import REFERENCE


@pytest.fixture(scope="module")
def results() -> ssbench.Results:
    return ssbench.Results(REFERENCE)


def shown(table: pd.DataFrame) -> str:
    frame: Any = table
    return str(frame._repr_html_())


def test_a_table_has_the_numbers_that_the_report_prints(results: ssbench.Results) -> None:
    printed = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (REFERENCE / "report.md").read_text().splitlines()
        if line.startswith(("| vgg6 |", "|  | "))
    ][: len(results.table())]
    table = results.table([*frame.COLUMNS, "best"])
    assert len(printed) == len(table) == 47
    for cells, (_, row) in zip(printed, table.iterrows(), strict=True):
        error = f"{row['test error %']:.2f} ± {row['± sd']:.2f}"
        assert cells[3] == (f"**{error}**" if row["best"] else error)
        assert int(cells[4]) == row["n"] == 3
        assert float(cells[6]) == pytest.approx(row["params pruned %"], abs=0.051)
        assert float(cells[9]) == pytest.approx(row["MACs pruned %"], abs=0.051)


def test_a_notebook_shows_a_table_rounded_and_its_parts_too(results: ssbench.Results) -> None:
    table = results.table(rows="synaptic-strength@0.02")
    for part in (table, table.head(1), table[["test error %", "params", "threshold"]]):
        html = shown(part)
        assert "<td>1.93</td>" in html
        assert "<td>7.54k</td>" in html
        assert "<td>0.0425</td>" in html
    assert table["test error %"].iloc[0] == pytest.approx(1.9333333)
    assert pickle.loads(pickle.dumps(table)).equals(pd.DataFrame(table))  # noqa: S301
    assert "<table" in results._repr_html_()


def test_columns_of_the_csv_are_known_too(results: ssbench.Results) -> None:
    columns = ["test_top1_error_min", "grain", "params_compact"]
    table = results.table(columns, rows=["l0@0.02", "dense"])
    csv = pd.read_csv(REFERENCE / "report.csv")
    csv = csv[(csv["origin"] == "measured") & csv["name"].isin(["l0", "dense"])]
    csv = csv[(csv["budget_asked"] == 0.02) | (csv["name"] == "dense")]
    assert table.to_numpy().tolist() == csv[columns].to_numpy().tolist()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"columns": ["prams"]}, r"columns: unknown 'prams'; did you mean 'params'"),
        ({"rows": ["magnitde"]}, "rows: 'magnitde': no such row; did you mean 'magnitude"),
        ({"rows": 3}, "rows: input should be a valid list"),
    ],
)  # fmt: skip
def test_unknown_columns_and_rows_are_refused(
    results: ssbench.Results, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(ssbench.BadInputError, match=message):
        results.table(**wanted)


def test_every_figure_of_the_report_is_a_chart(results: ssbench.Results) -> None:
    kinds = {figure.stem.partition("-")[0] for figure in results._drawn.all}
    assert {"error", "sizes", "pareto", "layers", "cost", "ranks"} <= kinds
    for kind in sorted(kinds):
        chart = results.plot(kind).to_dict()  # Altair checks it by Vega-Lite's schema
        names = re.findall(r"'data': \{'name': '([^']+)'\}", str(chart))
        assert set(names) == set(chart["datasets"]), kind


def test_an_unknown_figure_is_refused_and_so_is_an_open_choice(
    results: ssbench.Results,
) -> None:
    with pytest.raises(
        ssbench.BadInputError, match="no figure 'eror'; there are error, sizes, pareto, "
    ):
        results.plot("eror")
    with pytest.raises(ssbench.BadInputError, match=r"none of 'vgg7'; choose .*'vgg6 on digits'"):
        results.plot("error", "vgg7")
    assert results.plot("error", "vgg6").to_dict() == results.plot("error").to_dict()


def test_verdicts_are_those_of_the_report(results: ssbench.Results) -> None:
    verdicts = results.verdicts()
    report = (REFERENCE / "report.md").read_text()
    assert len(verdicts) > 20
    for line in verdicts.itertuples():
        assert f"{line.first} before {line.second}: {line.verdict}" in report
    better = verdicts[verdicts["verdict"].str.startswith("better")]
    assert (better["low"] > 0).all()


def test_latex_is_the_report_without_figures(results: ssbench.Results) -> None:
    latex = results.to_latex()
    assert r"\includegraphics" not in latex
    assert r"\toprule" in latex
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") > 0


def test_columns_rows_and_order_are_those_of_the_command_line(results: ssbench.Results) -> None:
    columns, rows = ["macs", "params_compact"], ["magnitude", "l0"]
    latex = results.to_latex(columns, rows, sort="-macs", caption="none")
    first = latex.partition(r"\end{table}")[0]
    lines = [line for line in first.splitlines() if " & " in line and line.endswith(r"\\")]
    assert any("params" in line for line in lines)
    assert "synaptic-strength" not in first
    table = results.table(columns, rows)
    assert list(table.columns) == columns
    assert len(table) == sum("magnitude" in line or "& l0" in line for line in lines)
    with pytest.raises(ssbench.BadInputError, match="caption: input should be 'full'"):
        results.to_latex(caption="long")


def test_several_experiments_stand_side_by_side(tmp_path: Path) -> None:
    for name in ("quickstart", "layer_profile"):
        (tmp_path / name).symlink_to(REFERENCE.parent / name)
    several = ssbench.Results(tmp_path)
    assert "vgg6 on digits" in repr(several)
    networks = {section.title for section in several._page.sections}
    if len(networks) > 1:
        with pytest.raises(ssbench.BadInputError, match="several networks have it"):
            several.plot("error")
    assert len(several.table()) > 47


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssbench.BadInputError, match="no records"):
        ssbench.Results(tmp_path)
    with pytest.raises(ssbench.BadInputError, match="no such folder"):
        ssbench.Results(tmp_path / "nothing")
