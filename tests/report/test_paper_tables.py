"""The paper's three tables, from records written as files."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ssbench.analysis.published import collect
from ssbench.analysis.rows import Row, make_rows
from ssbench.errors import BadInputError
from ssbench.report.formats import latex
from ssbench.report.paper.render import render_table
from ssbench.report.paper.tables import PaperTable, make_tables
from ssbench.storage.records import read_runs
from tests.support.command_line import Invoke
from tests.support.records import (
    ALL,
    DENSE,
    INPUT,
    NASTY,
    SCRIPT,
    WIDE,
    Folder,
    Page,
    folder,
    line,
    own,
)

__all__ = ["folder"]


def sized(params: int, kept: float = 1.0) -> dict[str, Any]:
    return {"params_dense": params, "params_nonzero": round(kept * params)}


@pytest.fixture
def several(folder: Folder) -> Folder:
    """A large network, pruned by two methods at two budgets, and two small dense ones."""
    folder.dense([3.0, 3.1, 3.2], model="large", **sized(10_000))
    for share, gap in ((0.5, 0.0), (0.1, 1.0)):
        at = {"model": "large", "budget_asked": share} | sized(10_000, share)
        folder.row("magnitude", [4 + gap, 4.1 + gap, 4.2 + gap], **at, test_top5_error=0.1)
        folder.row("other", [6.0, 6.1, 6.2], method="other", **at)
    folder.dense([4.5, 4.6, 4.7], model="small", **sized(2_000))
    folder.dense([9.5, 9.6, 9.7], model="tiny", **sized(900))
    return folder


def tables(number: int, folder: Path, *lines: str) -> dict[str, str]:
    published = collect([own(folder / "own.csv", *lines)], shipped=False)
    paths = render_table(number, [folder], folder, ALL, published)
    assert [path.name for path in paths] == [f"table{number}.{kind}" for kind in ALL]
    return {path.suffix[1:]: path.read_text() for path in paths}


def body(markdown: str) -> list[list[str]]:
    """The cells of a table, without marks of font and its ruler."""
    rows = [row for row in markdown.splitlines() if row.startswith("| ")]
    return [[cell.strip(" *") for cell in row.strip("|").split(" |")] for row in rows]


def made(number: int, folder: Path) -> PaperTable:
    rows, _ = make_rows(read_runs(folder))
    (table,) = make_tables(number, rows, [])
    return table


def bold(table: PaperTable, key: str) -> set[tuple[str, str, object]]:
    return {(row.like.model, row.name, row.budget[0]) for row in table.bold[key]}


def test_table_1_has_its_columns_for_all_networks(several: Folder) -> None:
    several.row("magnitude", [5.0, 5.5, 6.0], model="small", **sized(2_000, 0.5))
    content = tables(1, several.path, DENSE.replace("vgg6", "small"))
    header, *rows = body(content["md"])
    assert header == ["model", "variant", "test error %", "n", "params", "params pruned %",
                      "MACs", "MACs pruned %"]  # fmt: skip
    assert [row[0] for row in rows] == [
        "large", "", "", "", "", "small", "", "small, published", "tiny"
    ]  # fmt: skip
    assert rows[1] == ["", "magnitude, 50 % of params", "4.10 ± 0.10", "3", "5.00k", "50.0",
                       "2.50k", "50.0"]  # fmt: skip
    for words in ("large, small and tiny on digits", "over 3 seeds", "All rows: 20 epochs",
                  "MACs replace FLOPs", "Only rows of one network"):  # fmt: skip
        assert words in content["md"]


def test_rows_of_different_networks_do_not_compete_in_tables_1_and_2(several: Folder) -> None:
    half = {"model": "small"} | sized(2_000, 0.5)
    several.row("magnitude", [7.0, 7.1, 7.2], **half)
    several.row("other", [9.0, 9.1, 9.2], method="other", **half)
    won = {("large", "magnitude", 0.5), ("small", "magnitude", 0.5), ("large", "magnitude", 0.1)}
    assert bold(made(1, several.path), "test_top1_error") == won
    content = tables(1, several.path)
    assert content["md"].count("**4.10 ± 0.10**") == content["md"].count("**7.10 ± 0.10**") == 1
    assert "**3.10" not in content["md"]  # dense


def test_in_table_2_each_error_has_its_own_bold(several: Folder) -> None:
    several.row("third", [8, 8.1, 8.2], method="third", test_top5_error=0.05, model="large",
                **sized(10_000, 0.5))  # fmt: skip
    table = made(2, several.path)
    assert ("large", "magnitude", 0.5) in bold(table, "test_top1_error")
    assert {row for row in bold(table, "test_top5_error") if row[2] == 0.5} == {
        ("large", "third", 0.5)
    }
    header, *rows = body(tables(2, several.path)["md"])
    assert header[2:] == ["top-1 error %", "top-5 error %", "n", "params", "MACs"]
    assert rows[2][2:4] == ["6.10 ± 0.10", "0.50 ± 0.00"]


def test_table_3_is_by_params_with_published_rows_behind(several: Folder) -> None:
    lines = [
        line(model="nasnet", method="dense", params="1500", top5_error="0.1"),
        line(model="large", variant="p", params="700", source="B"),
        line(model="nasnet", variant="pruned", source="C"),
    ]
    content = tables(3, several.path, *lines)
    _, *rows = body(content["md"])
    assert [row[5] for row in rows] == [
        "900", "1.00k", "1.00k", "2.00k", "5.00k", "5.00k", "10.0k", "700", "1.50k"
    ]  # fmt: skip
    # A pruned network that is not among the records has no row to stand beside.
    assert [row[0] for row in rows[-2:]] == ["large, published", "nasnet, published"]
    assert "half" in rows[-1][1]
    assert "by params" in content["md"]


def test_in_table_3_bold_is_what_no_smaller_network_beats(several: Folder) -> None:
    # By params: tiny 9.6 (alone), other 6.1 and magnitude 5.1 (same size), small 4.6, magnitude
    # 4.1, other 6.1 (beaten by a smaller one), dense 3.1.
    assert bold(made(3, several.path), "test_top1_error") == {
        ("large", "magnitude", 0.1),
        ("small", "dense", None),
        ("large", "magnitude", 0.5),
        ("large", "dense", None),
    }
    caption = made(3, several.path).caption
    assert "among all rows with no more params (up to 5 % more are allowed)" in caption
    assert "95 % paired t interval" in caption


@pytest.mark.parametrize(("params", "wins"), [(10_400, False), (10_600, True)])
def test_in_table_3_a_rival_may_be_slightly_larger(folder: Folder, params: int, wins: bool) -> None:
    folder.row("pruned", [5.0, 5.1, 5.2], model="a", **sized(100_000, 0.1))
    folder.dense([4.0, 4.1, 4.2], model="b", **sized(params))
    folder.dense([9.0, 9.1, 9.2], model="c", **sized(5_000))
    found = bold(made(3, folder.path), "test_top1_error")
    assert (("a", "pruned", 0.5) in found) is wins
    assert ("b", "dense", None) in found


def test_one_seed_is_said_to_separate_nothing(folder: Folder) -> None:
    folder.row("pruned", [5.0], model="a", **sized(1_000, 0.5))
    folder.dense([4.0], model="b", **sized(400))
    table = made(3, folder.path)
    assert "No bold" not in table.caption
    assert "one seed separates nothing" in table.caption
    assert bold(table, "test_top1_error") == set()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_published_row_is_ever_bold_or_a_rival(several: Folder, number: int) -> None:
    alone = tables(number, several.path)
    lines = [line(model="large", top1_error="0", top5_error="0", params="1"),
             line(model="large", method="dense", top1_error="0", params="2")]  # fmt: skip
    both = tables(number, several.path, *lines)
    marked = [set(re.findall(r"\*\*[^*]+\*\*", content["md"])) for content in (alone, both)]
    assert marked[0] == marked[1] != set()
    assert "*0.00*" in both["md"]
    rows = [cells for cells, is_bold in Page(both["html"]).rows if is_bold]
    assert rows
    assert not any("published" in cell for cells in rows for cell in cells)
    assert both["html"].count('<tbody class="published">') == 1


def test_what_was_not_measured_is_a_dash(several: Folder) -> None:
    several.row("odd", [4.0, 4.1, 4.2], method="odd", test_top5_error=None, model="large",
                **sized(10_000, 0.5))  # fmt: skip
    several.fail(0, "out of <memory>", model="large", label="never", method="never")
    for number in (2, 3):
        content = tables(number, several.path)
        rows = {row[1]: row for row in body(content["md"])}
        assert rows["odd, 50 % of params"][3] == "–"  # noqa: RUF001
        assert rows["never, 50 % of params ‡"][2:5] == ["failed", "failed", "0"]
        assert "large: never at 50 % of params (1 of 1 seeds: out of \\<memory\\>)" in content["md"]
    assert [c[1] for c in body(tables(3, several.path)["md"])][-1].startswith("never")


def test_a_folder_in_which_nothing_fits(folder: Folder, invoke: Invoke) -> None:
    folder.dense()
    for number in (1, 2, 3):
        ended = invoke("report", folder.path, "--table", number)
        assert (ended.code, ended.out) == (2, "")
        assert f"nothing fits in table {number}, which needs a pruned network" in ended.err
    folder.row("magnitude", [2.0])
    assert invoke("report", folder.path, "--table", 2).code == 0
    ended = invoke("report", folder.path, "--table", 3)
    assert "a dense one of another model" in ended.err
    assert invoke("report", folder.path, "--table", 4).code == 2
    with pytest.raises(BadInputError, match="table 4: known: 1, 2, 3"):
        render_table(4, [folder.path], folder.path, ALL)


def test_experiments_in_one_folder_make_one_table(tmp_path: Path, invoke: Invoke) -> None:
    for name, error in (("first", 5.0), ("second", 4.0)):
        (tmp_path / name).mkdir()
        part = Folder(tmp_path / name)
        for method, worse in (("a", 0.0), ("b", 3.0)):
            errors = [error + worse + seed / 10 for seed in range(3)]
            part.row(method, errors, method=method, experiment=name)
    ended = invoke("report", tmp_path, "--table", 1, "--format", "md,csv")
    assert ended.out.split() == [str(tmp_path / "table1.md"), str(tmp_path / "table1.csv")]
    rows = body((tmp_path / "table1.md").read_text())[1:]
    assert [row[0] for row in rows] == ["vgg6 (first)", "", "vgg6 (second)", ""]
    # Each experiment has a recipe of its own: the best of each is bold.
    table = pd.read_csv(tmp_path / "table1.csv")
    best = table[table["best_test_top1_error"]]
    assert list(zip(best["experiment"], best["name"], strict=True)) == [
        ("first", "a"), ("second", "a")
    ]  # fmt: skip


def test_each_data_set_has_a_table_of_its_own(several: Folder) -> None:
    several.row("magnitude", [1.0, 1.1, 1.2], dataset="cifar10")
    content = tables(1, several.path)
    assert content["md"].count("\n## ") == 2
    assert content["tex"].count(r"\label{tab:1-") == 2
    assert set(pd.read_csv(StringIO(content["csv"]))["dataset"]) == {"digits", "cifar10"}


def test_csv_has_raw_numbers(several: Folder) -> None:
    lines = (line(model="large"), DENSE.replace("vgg6", "large"))
    table = pd.read_csv(StringIO(tables(2, several.path, *lines)["csv"]))
    row = table[(table["name"] == "magnitude") & (table["budget_asked"] == 0.1)].iloc[0]
    assert row["test_top1_error_mean"] == pytest.approx(5.1)
    assert row["test_top5_error_mean"] == pytest.approx(0.1)
    assert (row["params_nonzero"], row["table"]) == (1000, 2)
    assert row["best_test_top1_error"]
    assert row["best_test_top5_error"]
    theirs = table[table["origin"] == "published"]
    assert list(theirs["macs_nonzero"]) == [2500, 10_000]
    assert theirs["best_test_top1_error"].isna().all()


@pytest.mark.parametrize("name", [SCRIPT, INPUT, NASTY])
@pytest.mark.parametrize("number", [1, 3])
def test_names_from_files_stay_text(several: Folder, name: str, number: int) -> None:
    several.row(name, [4.0, 4.1, 4.2], method=name, model="large", experiment="exp")
    several.row("m", [4.0, 4.1, 4.2], model=name)
    theirs = line(model="large", method=name, variant=name, source=name, note=name)
    content = tables(number, several.path, theirs)
    # The scripts are the page's own: the runs, and what shows them.
    assert content["html"].count("<script") == content["html"].count("</script>") == 2
    page = Page(re.sub("<script.*?</script>", "", content["html"], flags=re.DOTALL))
    assert page.text.count(name) > 5
    assert r"\input{" not in content["tex"].split("\n", 2)[2]
    assert "<script>" not in content["md"]
    rows = [row for row in content["md"].splitlines() if row.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1.25", "99.99", "–"], "S[table-format=2.2]"),  # noqa: RUF001
        (["1.25 ± 0.12", "12.00 ± 49.31", "3.00"], "S[table-format=2.2(4)]"),
        (["1.25 ± 0.00"], "S[table-format=1.2]"),
        (["3", "12.3k", "failed"], "r"),
        ([], "r"),
    ],
)
def test_columns_for_siunitx_have_room(cells: Sequence[str], expected: str) -> None:
    assert latex.column(cells) == expected


def test_cells_for_siunitx() -> None:
    kind = "S[table-format=1.2(2)]"
    assert latex.cell("1.25 ± 0.12", kind, r"\bfseries") == r"\bfseries 1.25 +- 0.12"
    assert latex.cell(r"\input{x}", kind) == r"{\textbackslash{}input\{x\}}"
    assert latex.cell("12.3k", "r", r"\itshape") == r"{\itshape 12.3k}"


def test_the_smallest_table_is_whole(folder: Folder) -> None:
    folder.row("magnitude", [2.0])
    table = made(1, folder.path)
    rows: tuple[Row, ...] = table.rows
    assert len(rows) == 1
    assert "No bold: no two rows have the same budget." in table.caption


def test_long_tables_go_on_on_the_next_page(folder: Folder) -> None:
    for number in range(130):
        folder.row(f"m{number:03}", [2.0])
    content = tables(1, folder.path)["tex"]
    assert content.count(r"\begin{table}") == content.count(r"\addtocounter") + 1 > 3
    assert content.count(r"\label{") == 1
    assert content.count("vgg6 & m") == content.count(r"\begin{table}")
    assert [content.count(f"m{number:03}, 50") for number in range(130)] == [1] * 130


def _latex_is_here() -> bool:
    found = shutil.which("pdflatex") and shutil.which("kpsewhich")
    if not found:
        return False
    style = subprocess.run(
        ["kpsewhich", "siunitx.sty"], capture_output=True, text=True, check=False
    )
    if style.returncode:
        return False
    return bool(
        re.search(r"\{siunitx\} *\{[\d-]+\} *\{3\.", Path(style.stdout.strip()).read_text())
    )


@pytest.mark.skipif(not _latex_is_here(), reason="needs pdflatex with siunitx 3")
def test_latex_compiles(several: Folder) -> None:
    several.row(NASTY, [4.0, 64.1, 4.2], method=NASTY, model="large")
    several.row("m", [4.0, 4.1, 4.2], model=NASTY)
    several.row(WIDE, [4.0, 4.1, 4.2], method=WIDE, model="large")
    several.fail(0, NASTY, model="large", label="never")
    for number in range(40):
        several.row(f"long name of number {number}", [2.0 + number, 2.1], model="large")
    theirs = line(model="large", method=NASTY, variant=INPUT, source=SCRIPT, note=NASTY)
    for number in (1, 2, 3):
        tables(number, several.path, theirs)
    (several.path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx,siunitx}\\begin{document}\n"
        "\\input{table1}\\input{table2}\\input{table3}\n"
        "Tables~\\ref{tab:1-digits}, \\ref{tab:2-digits} and \\ref{tab:3-digits}.\n"
        "\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):
        ended = subprocess.run(command, cwd=several.path, capture_output=True, check=False)
        assert ended.returncode == 0, ended.stdout.decode(errors="replace")[-2000:]
    for complaint in (b"undefined", b"Overfull", b"Float too large", b"multiply defined"):
        assert complaint not in ended.stdout
