"""Reports from records written as files: what is bold, what is escaped, what is said."""

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ssbench.analysis import wording
from ssbench.analysis.rows import by_budget, make_rows
from ssbench.errors import BadInputError
from ssbench.report.figures import draw
from ssbench.report.figures.style import Looks
from ssbench.report.formats.escape import markdown
from ssbench.report.formats.latex import tex
from ssbench.report.formats.terminal import terminal_table
from ssbench.report.render import render as render_report
from ssbench.storage.records import load, read_runs
from tests.support.records import ALL, NASTY, WIDE, Folder, Page, folder, record

__all__ = ["folder"]

oracle = pytest.importorskip("scipy.stats", reason="scipy comes with scikit-learn")
WIDE += "\t\x07\ufffe"
"""Letters of many kinds, and what no letter is."""


@pytest.fixture
def usual(folder: Folder) -> Folder:
    """Dense, a control and two methods at two budgets, three seeds."""
    folder.dense()
    for share in (0.1, 0.5):
        folder.row("random", [9, 9.5, 9.2], method="random", budget_asked=share)
        folder.row("magnitude", [2.0, 2.1, 2.2], budget_asked=share)
        folder.row("other", [2.1, 2.0, 2.2], method="other", budget_asked=share)
    return folder


def bold_names(content: dict[str, str], names: Sequence[str]) -> list[set[str]]:
    """The names of the rows whose error is bold, in each of the three text formats."""
    pages = (
        ([line for line in content["md"].splitlines() if line.startswith("|")], "**"),
        (content["tex"].splitlines(), r"\textbf"),
    )
    found = [
        {name for line in lines for name in names if f" {name} " in line and mark in line}
        for lines, mark in pages
    ]
    rows = Page(content["html"]).rows
    return [*found, {name for cells, bold in rows if bold for name in names if name in cells}]


def test_bold_is_what_a_paired_t_test_does_not_reject(folder: Folder) -> None:
    draws = np.random.default_rng(5)
    names = [f"method-{i:02}" for i in range(12)]
    shared = draws.normal(0, 0.5, 4)
    errors = {
        name: [round(5 + index / 12 + s + e, 2) for s, e in zip(shared, noise, strict=True)]
        for index, (name, noise) in enumerate(
            zip(names, draws.normal(0, 0.2, (12, 4)), strict=True)
        )
    }
    folder.dense([1.0, 1.0, 1.0, 1.0])
    for name, values in errors.items():
        folder.row(name, values)
    winner = min(errors, key=lambda name: sum(errors[name]))
    expected = {
        name
        for name in names
        if name == winner or oracle.ttest_rel(errors[name], errors[winner]).pvalue >= 0.05
    }
    assert 1 < len(expected) < len(names)
    assert bold_names(folder.render(), [*names, "dense"]) == [expected] * 3


def test_one_row_alone_and_the_dense_network_are_never_bold(folder: Folder) -> None:
    folder.dense([0.1, 0.1, 0.1])
    folder.row("alone", [2, 2.1, 2.2])
    folder.row("unit", [1, 1.1, 1.2], budget_unit="connections")
    folder.row("own-a", [1, 1.1, 1.2], budget_asked="own")
    folder.row("own-b", [1, 1.1, 1.2], budget_asked="own")
    names = ["dense", "alone", "unit", "own-a", "own-b"]
    assert bold_names(folder.render(), names) == [set()] * 3
    assert "No bold" in folder.caption()


def test_one_seed_makes_only_the_lowest_bold_and_says_so(folder: Folder) -> None:
    folder.row("first", [2.0])
    folder.row("close", [2.02])
    folder.row("tied", [2.0])
    assert bold_names(folder.render(), ["first", "close", "tied"]) == [{"first", "tied"}] * 3
    assert "one seed separates nothing" in folder.caption()
    lines = folder.render("md")["md"].splitlines()
    assert not any("±" in line for line in lines if line.startswith("|"))


def test_a_row_that_kept_too_much_does_not_win(folder: Folder) -> None:
    folder.row("fair", [5.0, 5.1, 5.2])
    folder.row("worse", [9.0, 9.1, 9.2])
    folder.row("large", [1.0, 1.1, 1.2], budget_reached=0.6)
    folder.row("near", [7.0, 7.1, 7.2], budget_reached=0.51)
    content = folder.render()
    assert bold_names(content, ["fair", "worse", "large", "near"]) == [{"fair"}] * 3
    assert (
        "large at 50 % of params (60 %, too much to compete; protection or scope" in content["md"]
    )
    assert "near at 50 % of params (51 %)" in content["md"]
    assert "over 5 % more or less than asked do not compete" in folder.caption()


def test_incomplete_and_failed_rows(usual: Folder) -> None:
    usual.run(0, 2.0, label="short", method="short")
    usual.run(1, 2.2, label="short", method="short")
    usual.fail(2, "diverged: loss is nan", label="short", method="short")
    usual.fail(0, "out of memory & more", label="never", method="never")
    content = usual.render()
    cells = {tuple(cells[-11:-8]) for cells, _ in Page(content["html"]).rows}
    assert {("short", "2.10 ± 0.14", "2"), ("never", "failed", "0")} <= cells
    assert {("magnitude", "2.10 ± 0.10", "3")} <= cells
    assert "short‡" in content["html"].replace("<sup>", "")
    for kind in ("md", "tex", "html"):
        assert "diverged: loss is nan" in content[kind]
        assert "Failed runs" in content[kind] or "without a result" in content[kind]
        assert "n seeds (3 where none is missing)" in content[kind]
    table = pd.read_csv(usual.path / "report.csv").set_index("name")
    assert (table.loc["short", "n"], table.loc["short", "failed"]) == (2, 1)
    assert table.loc["never", "reasons"] == "out of memory & more"


def test_nothing_but_failures_and_nothing_but_dense(folder: Folder) -> None:
    folder.fail(0, "no luck")
    assert "no luck" in folder.render()["html"]
    folder.dense([1.0])
    content = folder.render()
    assert "<figure>" not in content["html"]
    assert "includegraphics" not in content["tex"]


def test_a_dead_layer_is_marked_with_its_seeds(usual: Folder) -> None:
    usual.row("dying", [90.0, 90.0], method="dying", layers={"a.2": 0.0, "a.10": 0.5})
    usual.run(2, 5.0, label="dying", method="dying")
    content = usual.render()
    note = "dying at 50 % of params (a whole layer lost all its weights in 2 of 3 seeds)"
    assert note in content["md"]
    assert "dying<sup>†</sup>" in content["html"]
    assert r"dying\textsuperscript{\dag{}}" in content["tex"]
    assert "magnitude<sup>" not in content["html"]


def test_a_caption_says_what_must_be_said(usual: Folder) -> None:
    section = usual.page().sections[0]
    for words in (
        "vgg6 on digits", "over 3 seeds", "test error of the last epoch",
        "MACs: convolution and linear layers, one image, 1 per multiply-add",
        "95 % paired t interval", "All rows: 20 epochs in total", "separate no gap under",
    ):  # fmt: skip
        assert words in section.table.caption
    assert "vgg6 on digits" in section.figure_caption
    assert "± 1 sample standard deviation" in section.figure_caption


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device_name": "Another"}, "different devices: A processor, 2 threads | Another"),
        ({"versions": {"torch": "3"}}, "different library versions"),
        ({"epochs_total": 40}, "total epochs: 20 and 40"),
        ({"test_images": 10}, "numbers of test images: 10 and 5000"),
    ],
)
def test_what_makes_rows_unequal_is_a_warning(
    usual: Folder, changes: dict[str, Any], words: str
) -> None:
    assert usual.page().sections[0].table.warnings == ()
    usual.row("unlike", [4.0, 4.1, 4.2], method="unlike", **changes)
    for kind, content in usual.render("md", "tex", "html").items():
        plain = re.sub(r"\\textbar\{\}|\\\|", "|", content)
        assert words in plain, kind
        assert "Warning:" in content


def test_rows_stand_by_falling_budget_and_controls_first(usual: Folder) -> None:
    usual.row("z-own", [1.0], budget_asked="own")
    rows, _ = make_rows(read_runs(usual.path))
    shares = [budget[0] for budget in by_budget(rows)]
    assert shares == [None, 0.5, 0.1, "own"]
    assert [row.name for row in rows][:4] == ["dense", "random", "magnitude", "other"]


def test_rows_of_one_label_are_told_apart(folder: Folder) -> None:
    folder.row("m", [1.0])
    folder.row("m", [2.0], scope="layerwise")
    folder.row("s", [1.0], settings={"k": 1, "l": 0})
    folder.row("s", [2.0], settings={"k": 2, "l": 0})
    folder.row("u (by macs)", [1.0], budget_unit="macs")
    rows, _ = make_rows(read_runs(folder.path))
    names = {row.name for row in rows}
    assert names == {"m, global", "m, layerwise", "s, k=1", "s, k=2", "u (by macs)"}


def test_the_newest_run_of_a_cell_counts(folder: Folder) -> None:
    folder.run(0, 7.0, run="b-new", time="2031-01-01T00:00:00+00:00")
    folder.run(0, 3.0, run="c-old", time="2030-01-01T00:00:00+00:00")
    page = folder.page()
    assert page.rows[0].values("test_top1_error") == {0: 7.0}
    assert "c-old" in page.warnings[0]
    assert "b-new" not in page.warnings[0]


def test_nasty_names_are_escaped_in_latex(folder: Folder) -> None:
    for name in (NASTY, NASTY + '"<>'):
        folder.row(name, [1.0, 1.2], method=name, dataset=NASTY, model="a_b%c")
    folder.fail(0, NASTY, label="x", dataset=NASTY, model="a_b%c")
    content = folder.render("tex")["tex"]
    assert r"50\%\_of \#1 \& \textasciitilde{}x\textasciicircum{}2 \{a\} \$b\$" in content
    plain = re.sub(r"(?<!\\)%.*", "", content)
    plain = re.sub(r"~\\%|\\[\\{}%_#&$]", "", plain)
    assert plain.count("{") == plain.count("}")
    depth = itertools.accumulate({"{": 1, "}": -1}.get(c, 0) for c in plain)
    assert min(depth) >= 0
    assert not set("#_^~") & set(plain)
    assert plain.count("$") % 2 == 0


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", r"\input{/etc/passwd}"])
def test_names_that_are_commands_stay_text(folder: Folder, name: str) -> None:
    names = {"method": name, "dataset": name, "model": name, "experiment": name}
    folder.row(name, [1.0, 1.2, 1.1], settings={name: name}, **names)
    folder.row("other", [5.0, 5.2, 5.1], **names)
    folder.fail(0, name, label="broken", **names)
    content = folder.render("tex", "html")
    assert r"\input{/etc" not in content["tex"]
    assert r"\textbackslash{}input\{" in content["tex"] or "script" in name
    assert content["html"].count("<script") == 6
    page = Page(re.sub("<script.*?</script>", "", content["html"], flags=re.DOTALL))
    assert any(name in cells for cells, _ in page.rows)
    assert f"{name} at 50 % of params (1.10" in page.text.replace("\u00a0", " ")


def _latex_is_here() -> bool:
    found = shutil.which("pdflatex") and shutil.which("kpsewhich")
    if not found:
        return False
    style = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False)
    return style.returncode == 0


@pytest.mark.skipif(not _latex_is_here(), reason="needs pdflatex with booktabs")
def test_latex_compiles(usual: Folder) -> None:
    usual.row(NASTY, [1.0, 1.2], method=NASTY)
    usual.row(WIDE, [1.0, 1.1, 1.2], method=WIDE, settings={WIDE: WIDE}, device_name=WIDE)
    usual.row(WIDE, [9.0, 9.1, 9.2], method=WIDE, model=WIDE, dataset=WIDE)
    usual.row("dying", [90.0], layers={"a.2": 0.0}, protected=1, budget_reached=0.6)
    usual.fail(0, NASTY, label="x")
    usual.row("m", [1.0, 2.0, 3.0], dataset="other_set", model="m.1")
    usual.render("tex")
    (usual.path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
        "\\input{report.tex}\nTables~\\ref{tab:digits-vgg6}.\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):
        ended = subprocess.run(command, cwd=usual.path, capture_output=True, check=False)
        assert ended.returncode == 0, ended.stdout.decode(errors="replace")[-2000:]
    assert b"undefined" not in ended.stdout
    assert b"Overfull" not in ended.stdout


def test_html_is_escaped_whole_and_alone(usual: Folder) -> None:
    script = "<script>alert(1)</script>"
    usual.row(script, [1.0, 1.1, 1.2], method=script)
    usual.row("m", [1.0, 1.1, 1.2], dataset="<b>&amp;", model='"m"')
    usual.fail(0, "<img src=x onerror=y>", label="broken")
    content = usual.render("html")["html"]
    # The scripts are the page's own: the runs and what shows them, the figures and what draws them.
    assert len(re.findall("<script", content)) == len(re.findall("</script>", content)) == 6
    content = re.sub("<script.*?</script>", "", content, flags=re.DOTALL)
    page = Page(content)
    assert not {"img", "b"} & set(page.seen)
    assert script in page.text
    assert "<img src=x onerror=y>" in page.text
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    for address in re.findall(r'(?:src|href)="([^"]*)"', content):
        assert address.startswith("#"), address
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', content)) <= set(page.ids)
    assert "prefers-color-scheme: dark" in content


def test_markdown_tables_have_the_same_number_of_cells_in_every_row(usual: Folder) -> None:
    usual.row(NASTY, [1.0, 1.2], method=NASTY)
    lines = usual.render("md")["md"].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    each = 2 + 1 + 6 + 1
    assert len(rows) == 3 * each
    for table in (rows[:each], rows[each : 2 * each], rows[2 * each :]):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1
    assert "](error-digits-vgg6.png)" in "\n".join(lines)
    assert tex("a--b \u2013 ---") == "a-{}-b -- -{}-{}-"
    assert tex("-0.3 to -1 (-2) a-1 1e-5") == "$-$0.3 to $-$1 ($-$2) a-1 1e-5"
    assert r"café $\lambda$ $\leq$ (U+0142)o (U+65B9) (U+1F642)" in tex(WIDE)
    assert markdown("<a>_*|") == r"\<a\>\_\*\|"


def test_sizes_after_surgery_stand_with_the_largest_change_of_outputs(usual: Folder) -> None:
    sizes = {"norm_ops_compact": 14_336, "pool_ops_compact": 3_584, "bytes_compact": 3_600,
             "bytes_sparse": 2_500, "bytes_index": 52}  # fmt: skip
    for seed, difference in enumerate((2e-16, 7e-15)):
        usual.run(seed, 2.0, label="cut", method="cut", surgery_difference=difference, **sizes)
    content = usual.render()
    expected = ("900", "90", "4.50k", "14.3k", "3.58k", "3.60k", "2.50k", "52", "7e-15")
    assert tuple(next(c for c, _ in Page(content["html"]).rows if c[-1:] == ["7e-15"])[-9:]) == (
        expected
    )
    assert f"| cut | {' | '.join(expected)} |" in content["md"]
    assert "MACs do not include operations" in content["md"]


def test_differences_to_the_best_row_stand_with_their_interval(usual: Folder) -> None:
    usual.row("near", [2.1, 2.0, 2.4], method="near", budget_asked=0.1)
    usual.row("two", [5.0, 5.2], method="two", budget_asked=0.1)
    content = usual.render()
    # 2.0, 2.1 and 2.2 are the best: 0.1, -0.1 and 0.2 more have the t interval of three.
    assert (
        "| 10 % of params | random | 9.23 ± 0.25 | 3 | 7.13 | 6.56 to 7.71 | t |" in content["md"]
    )
    assert "| magnitude | 2.10 ± 0.10 | 3 | 0 | the best | \N{EN DASH} |" in content["md"]
    assert "| near | 2.17 ± 0.21 | 3 | 0.07 | -0.31 to 0.45 | t |" in content["md"]
    assert "| two | 5.10 ± 0.14 | 2 | 3.05 | \N{EN DASH} | \N{EN DASH} |" in content["md"]
    assert "$-$0.31 to 0.45" in content["tex"]
    cells = [cells for cells, _ in Page(content["html"]).rows]
    assert ["near", "2.17 ± 0.21", "3", "0.07", "-0.31 to 0.45", "t"] in cells
    assert "partly best by luck" in content["html"]


def test_csv_has_the_raw_numbers(usual: Folder) -> None:
    usual.render("csv")
    assert sorted(p.name for p in usual.path.iterdir() if p.suffix != ".jsonl") == ["report.csv"]
    table = pd.read_csv(usual.path / "report.csv")
    assert len(table) == 7
    row = table[(table["name"] == "magnitude") & (table["budget_asked"] == 0.1)].iloc[0]
    assert row["test_top1_error_mean"] == pytest.approx(2.1)
    assert row["test_top1_error_sd"] == pytest.approx(0.1)
    assert row["test_top1_error_before_finetuning_mean"] == pytest.approx(42.1)
    assert (row["params_nonzero"], row["macs_compact"], row["seconds_train"]) == (100, 4500, 4.0)
    assert row["difference_to_dense_mean"] == pytest.approx(-1.0)
    assert row["difference_to_dense_low"] < -1 < row["difference_to_dense_high"] < 0
    random = table[table["method"] == "random"].iloc[0]
    other = table[table["name"] == "other"].iloc[0]
    assert random["difference_to_best_low"] > 0
    assert not random["best"]
    assert other["best"]


def test_inputs_stay_untouched_and_two_renders_are_equal(usual: Folder, tmp_path: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in usual.path.glob("*.jsonl")}
    hashes = []
    for name in ("one", "two"):
        paths = render_report(usual.path, tmp_path / name, ALL)
        assert {path.parent.name for path in paths} == {name}
        hashes.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths})
    assert hashes[0] == hashes[1]
    kinds = {name.rpartition(".")[2] for name in hashes[0]}
    assert kinds == {"svg", "png", "pdf", "md", "tex", "html", "csv"}
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in usual.path.glob("*.jsonl")}
    assert after == before
    assert not list(tmp_path.glob("*/.*"))


@pytest.mark.parametrize("count", [1, 30])
def test_figures_of_few_and_many_methods(folder: Folder, count: int) -> None:
    for index, share in itertools.product(range(count), (0.02, 0.5)):
        folder.row(f"method {index}", [0.0, 90.0 * index / 30], budget_asked=share)
    rows, _ = make_rows(read_runs(folder.path))
    looks = Looks.of(rows)
    figures = draw(rows, looks, "x")
    assert "error-x" in {figure.stem for figure in figures}
    distinct = {(looks.colours[n], looks.shapes[n], looks.dashes[n]) for n in looks.colours}
    assert len(distinct) == min(count, 24)


def test_models_whose_names_look_alike_have_figures_of_their_own(folder: Folder) -> None:
    folder.row("m", [1.0], model="a/b")
    folder.row("m", [1.0], model="a.b")
    paths = render_report(folder.path, folder.path, ["html"])
    assert len({path.name for path in paths}) == len(paths) == 5
    assert all(path.parent == folder.path for path in paths)


def broken(line: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines that are no records, and what their error must say."""
    yield "{", "not JSON"
    yield "[1]", "should be"
    yield "", "not JSON"
    yield json.dumps({k: v for k, v in line.items() if k != "seed"}), "seed: field required"
    yield json.dumps(line | {"test_top1_error": 101}), "test_top1_error"
    yield json.dumps(line | {"test_top1_error": None}), "lacks test_top1_error"
    yield json.dumps(line | {"format": 3}), "format"
    yield json.dumps(line | {"seed": 5}), "another seed than in line 1"


@pytest.mark.parametrize("case", range(8))
def test_a_line_that_is_no_record_is_named(folder: Folder, case: int) -> None:
    lines = [record("prune", 0, 9.0), record("finetune", 0, 1.0)]
    bad, words = list(broken(lines[1]))[case]
    path = folder.path / "some-run.jsonl"
    path.write_text(f"{json.dumps(lines[0])}\n{bad}\n")
    with pytest.raises(BadInputError) as raised:
        load(folder.path)
    assert f"{path}, line 2: " in str(raised.value)
    assert words in str(raised.value)
    assert "run the experiment again" in str(raised.value)


def test_folders_that_cannot_be_reported(usual: Folder, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInputError, match="no records"):
        render_report(empty, empty, ALL)
    with pytest.raises(
        BadInputError, match="docx: not a format here; known: md, tex, html, csv, parquet"
    ):
        render_report(usual.path, empty, ["docx"])
    (usual.path / "run-999.jsonl").write_text("")
    with pytest.raises(BadInputError, match="empty"):
        load(usual.path)
    usual.run(0, 1.0, run="run-999", experiment="another")
    with pytest.raises(BadInputError, match=r"run-999.*'another'.*run-000.*'exp'"):
        render_report(usual.path, empty, ALL)
    assert not list(empty.iterdir())


def test_load_returns_what_was_written(usual: Folder) -> None:
    records = load(usual.path)
    assert len(records) == 2 * 3 * 7
    assert {"stage_id", "images_per_second", *record("prune", 0, 1.0)} == set(records[0])


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_table(usual: Folder, width: int) -> None:
    usual.row("[red]x[/red]", [1.5, 1.6, 1.7], method="x")
    console = Console(width=width, file=StringIO(), force_terminal=True)
    console.print(terminal_table(usual.path, width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "[red]x[/red]" in plain
    assert "vgg6 on digits" in plain
    assert re.search(r"\x1b\[1m *2\.10 ± 0\.10 *\x1b", shown)
    assert not re.search(r"\x1b\[1m *9\.", shown)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (512, "512"), (999.4, "999"), (999.6, "1.00k"), (16357, "16.4k"), (288170, "288k"),
     (999_600, "1.00M"), (20_035_018, "20.0M"), (313.2e6, "313M"), (4.1e9, "4.10G")],
)  # fmt: skip
def test_counts_have_three_digits(value: float, expected: str) -> None:
    assert wording.count(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "0.0"), (1, "100.0"), (0.5, "50.0"), (0.9999, "99.99"), (0.0002, "0.02"), (None, "–")],  # noqa: RUF001
)
def test_a_share_never_rounds_to_nothing_or_all(share: float | None, expected: str) -> None:
    assert wording.percent(share) == expected


def test_reports_and_statistics_need_no_torch() -> None:
    code = "import sys; import ssbench.report.render, ssbench.analysis.stats; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    modules = set(loaded.stdout.decode().split())
    assert not modules & {"torch", "scipy", "altair", "vl_convert"}
