"""Rows of the literature: read with care, converted by their convention, shown apart."""

import json
import re
import tomllib
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from ssbench.analysis.published import collect
from ssbench.data.registry import DATASETS
from ssbench.errors import BadInputError
from ssbench.models.registry import IMAGENET, MODELS, build
from ssbench.paths import bench_folder
from ssbench.pruning.counting import count
from ssbench.report.formats.terminal import terminal_table
from ssbench.report.render import render
from tests.support.command_line import Invoke
from tests.support.records import (
    ALL,
    DENSE,
    HEADER,
    INPUT,
    NASTY,
    SCRIPT,
    Folder,
    Page,
    folder,
    line,
    own,
    read,
)

__all__ = ["folder"]


def test_what_ships_is_of_networks_and_data_sets_that_there_are() -> None:
    published = collect()
    assert len(published) == 32
    assert {row.line.model for row in published} <= {*MODELS, *IMAGENET}
    assert {row.line.dataset for row in published} <= set(DATASETS)
    assert "vgg19" in {row.line.model for row in published}


def test_what_was_chosen_on_the_test_set_says_so() -> None:
    lines = [row.line for row in collect()]
    by_test_set = {
        "Li et al. 2017": "best test epoch",
        "Liu et al. 2017": "best test epoch",
        "Gale et al. 2019": "gradual pruning during training; the highest test accuracy of a sweep",
    }
    for source, words in by_test_set.items():
        found = [line for line in lines if line.source.startswith(source)]
        pruned = [line for line in found if line.method != "dense" or "Gale" not in source]
        assert len(found) >= 5
        assert all(words in (line.note or "") for line in pruned), source


@pytest.mark.parametrize(
    ("model", "variant", "error", "params", "share"),
    [
        ("resnet50", "gradual pruning baseline", 23.31, None, None),
        ("resnet110", "ResNet-110-A", 6.45, 1.68e6, 1 - 1.68 / 1.72),
    ],
)
def test_rows_that_were_missing(
    model: str, variant: str, error: float, params: float | None, share: float | None
) -> None:
    (row,) = (row for row in collect() if row.line.variant == variant)
    assert (row.line.model, row.line.top1_error, row.line.params) == (model, error, params)
    assert row.params_pruned == pytest.approx(share)


def test_what_ships_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["ssbench.bench"]
    installed = {path.name for pattern in patterns for path in bench_folder().glob(pattern)}
    assert {"published.csv", "published_names.csv", "quickstart.toml"} <= installed


@pytest.mark.parametrize("model", ["vgg16", "vgg19", "resnet56", "resnet110", "resnet164"])
def test_converted_flops_of_dense_networks_are_the_counted_macs(model: str) -> None:
    """A convention taken wrongly is a factor of 2; the sources round, and shortcuts differ."""
    dense = [row for row in collect() if row.line.model == model and row.is_dense]
    counted = count(build(model, 3, 10), torch.zeros(1, 3, 32, 32))
    for row in dense:
        assert row.macs == pytest.approx(counted.macs, rel=0.01)
        assert row.line.params == pytest.approx(counted.params, rel=0.02)


def test_shares_are_of_the_same_sources_dense_network(tmp_path: Path) -> None:
    other = line(method="dense", source="Another", params="9000", flops="9e4")
    half, *_ = read(tmp_path / "a.csv", line(), DENSE, other)
    assert (half.name, half.macs) == ("theirs, half", 2500)
    assert (half.params_pruned, half.macs_pruned) == (0.5, 0.75)
    (alone,) = read(tmp_path / "b.csv", line())
    assert (alone.params_pruned, alone.macs_pruned) == (None, None)


def test_an_unknown_convention_gives_a_share_but_no_macs(tmp_path: Path) -> None:
    half, dense = read(tmp_path / "a.csv", line(flops_convention=""), DENSE.replace("mul+add", ""))
    assert (half.macs, dense.macs, half.macs_pruned) == (None, None, 0.75)
    half, _ = read(tmp_path / "b.csv", line(flops_convention="mac"), DENSE)
    assert half.macs_pruned == 0.5
    half, _ = read(tmp_path / "c.csv", line(flops_convention=""), DENSE)
    assert half.macs_pruned is None


BAD = {
    "top1_error: input should be less than or equal to 100": [line(top1_error="101")],
    "top1_error: input should be a valid number": [line(top1_error="5,1 %")],
    "params: input should be a finite number": [line(params="inf")],
    "params: input should be greater than 0": [line(params="0")],
    "flops_convention: input should be 'mul+add' or 'mac'": [line(flops_convention="macs")],
    "source: field required": [line(source="")],
    "neither top1_error nor top5_error": [line(top1_error="")],
    "repeats": [line(), line(top1_error="0.6")],
    "one dense network of a model": [DENSE, DENSE.replace("theirs", "again")],
    "3 cells under 11 columns; quote text": ["a,b,c"],
    "not CSV": [line() + '"x'],
}


@pytest.mark.parametrize("words", BAD)
def test_a_line_that_cannot_be_is_named(tmp_path: Path, words: str) -> None:
    path = tmp_path / "own.csv"
    with pytest.raises(BadInputError) as raised:
        read(path, *BAD[words])
    assert words in str(raised.value)
    assert f"{path}, line {len(BAD[words]) + 1}" in str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    for content, words in (
        (b"", "empty; its first line must name columns: dataset, model"),
        (b"\xff\xfe", "cannot be read"),
        (b"dataset,modle\n", "unknown column 'modle'; did you mean 'model' or 'method'?"),
        (b"dataset,dataset\n", "'dataset' occurs twice"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=f"{path}") as raised:
            collect([path])
        assert words in str(raised.value)
    with pytest.raises(BadInputError, match="cannot be read"):
        collect([tmp_path / "missing.csv"])


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    content = "\r\n".join([HEADER, line(note="two\nlines"), "", DENSE, ",,,,,,,,,,"])
    path.write_text("\ufeff" + content, encoding="utf-8", newline="")
    assert [row.line.note for row in collect([path], shipped=False)] == ["two\nlines", None]


@pytest.fixture
def measured(folder: Folder) -> Folder:
    """Two methods at one budget, worse than all that is published."""
    folder.dense()
    folder.row("magnitude", [2.0, 2.1, 2.2])
    folder.row("other", [9.0, 9.1, 9.2], method="other")
    return folder


def rendered(folder: Folder, *lines: str) -> dict[str, str]:
    published = read(folder.path / "own.csv", *lines)
    paths = render(folder.path, folder.path, ALL, published=published)
    return {path.suffix[1:]: path.read_text() for path in paths if path.stem == "report"}


def test_published_rows_stand_apart_and_never_win(measured: Folder) -> None:
    content = rendered(measured, line(note="best test epoch"), DENSE)
    assert (
        "|  | published | *theirs, half* (a,b) | *0.50* | – | *500* | *50.0* | *–* | *2.50k* | "  # noqa: RUF001
        "*75.0* | *–* | *–* |\n"  # noqa: RUF001
    ) in content["md"]
    note = "(a) Someone 2020, Table 1. Its FLOPs count a multiply-add as 2 and are halved to MACs."
    assert f"\n{note}\n" in content["md"]
    assert "\n(b) best test epoch.\n" in content["md"]
    assert "In italics: published rows" in content["md"]
    html = content["html"].replace("\n", "")
    assert '<tbody class="published"><tr>' in html
    assert "theirs, half<sup>a,b</sup>" in html
    assert r"\textit{theirs, half}\textsuperscript{a,b} & \textit{0.50}" in content["tex"]
    bold = [cells for cells, is_bold in Page(content["html"]).rows if is_bold]
    assert ["magnitude" in cells for cells in bold] == [True]
    assert "over 3 seeds" in content["md"]  # the published ones have none


def test_published_rows_are_in_no_other_table(measured: Folder) -> None:
    content = rendered(measured, line(), DENSE)
    after = content["html"].split("<details>")[1]
    assert "theirs" not in after
    assert "theirs" not in content["tex"].split("After surgery")[1]
    other = line(model="vgg16"), line(dataset="cifar10")
    assert rendered(measured, *other) == measured.render()


def test_csv_has_published_rows_as_they_are(measured: Folder) -> None:
    table = pd.read_csv(StringIO(rendered(measured, line(note="x"), DENSE)["csv"]))
    row = table[table["origin"] == "published"].iloc[0]
    assert (row["test_top1_error_mean"], row["params_nonzero"], row["macs_nonzero"]) == (
        0.5, 500, 2500,
    )  # fmt: skip
    assert (row["flops"], row["flops_convention"], row["note"]) == (5000, "mul+add", "x")
    assert row[["best", "n", "difference_to_best_mean", "experiment"]].isna().all()
    assert table.loc[table["origin"] == "measured", "n"].eq(3).all()


def test_what_is_not_known_is_said(measured: Folder) -> None:
    lines = (line(flops_convention="", source="One"), line(flops="", source="Two"))
    content = rendered(measured, *lines)["md"]
    assert "No MACs: whether its FLOPs count a multiply-add as 1 or 2 is unknown." in content
    assert "(b) Two. No MACs: its FLOPs are not listed here." in content
    assert "(c) No pruned share: the source's dense network is not listed here" in content
    assert "*theirs, half* (b,c) | *0.50* | – | *500* | *–* | *–* | *–* |" in content  # noqa: RUF001


@pytest.mark.parametrize("name", [SCRIPT, INPUT, NASTY])
def test_names_from_files_stay_text(measured: Folder, name: str) -> None:
    content = rendered(measured, line(method=name, variant=name, source=name, note=name))
    page = Page(content["html"])
    plain = Page(rendered(measured, line(method="x", variant="x", source="x", note="x"))["html"])
    assert page.seen == plain.seen
    shown = Page(re.sub(r"<script.*?</script>", "", content["html"], flags=re.DOTALL)).text
    assert shown.count(name) == 3 + 1 + 1  # in the table, its notes, a figure's caption
    assert r"\input{" not in content["tex"].split("\n", 2)[2]
    assert len(json.loads(pd.read_csv(StringIO(content["csv"])).to_json())) > 10
    rows = [row for row in content["md"].splitlines() if row.startswith("| ")]
    assert "<script>" not in content["md"]
    assert len({row.replace(r"\|", "").count("|") for row in rows[: 1 + 3 + 1]}) == 1


def test_the_command_line_adds_and_leaves_out(
    measured: Folder, invoke: Invoke, tmp_path: Path
) -> None:
    measured.row("magnitude", [7.0, 7.1, 7.2], dataset="cifar10", model="vgg19")
    mine = own(tmp_path / "mine.csv", line(), DENSE)
    call = ("report", measured.path, "--format", "md", "--out", tmp_path / "out")
    shown = []
    for options in ((), ("--published", mine), ("--no-published",),
                    ("--no-published", "--published", mine)):  # fmt: skip
        assert invoke(*call, *options).code == 0
        content = (tmp_path / "out" / "report.md").read_text()
        shown.append(("Liu et al. 2017" in content, "Someone 2020" in content))
    assert shown == [(True, False), (True, True), (False, False), (False, True)]
    mine.write_text("x")
    ended = invoke(*call, "--published", mine)
    assert ended.code == 2
    assert "unknown column 'x'" in ended.err


def test_the_terminal_shows_published_rows(measured: Folder) -> None:
    console = Console(width=200, file=StringIO(), force_terminal=False)
    published = read(measured.path / "own.csv", line(method="[red]x"), DENSE)
    console.print(terminal_table(measured.path, 200, published))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]x, half a" in shown
    assert "a Someone 2020, Table 1." in shown


def test_published_rows_are_crosses_in_the_figure_of_sizes(measured: Folder) -> None:
    """Both sizes from a source that says what a multiply-add counts; else only the params."""
    with_macs, without = line(), line(method="other", flops_convention="", source="Nobody 2021")
    published = read(measured.path / "own.csv", with_macs, without, DENSE)
    render(measured.path, measured.path, ["html"], published=published)
    page = (measured.path / "report.html").read_text()
    specs = json.loads(page.split('id="chart-specs">')[1].split("</script>")[0])
    shown = json.dumps([spec for name, spec in specs.items() if name.startswith("size")])
    assert "Someone 2020" in shown
    assert "Nobody 2021" in shown
    assert "Someone 2020" not in json.dumps(
        [spec for name, spec in specs.items() if not name.startswith("size")]
    )
