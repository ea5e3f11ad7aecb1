"""What a report shows is chosen by columns, rows, order and caption; what it says stays true."""

import csv
import json
import re
from pathlib import Path

import pytest

from ssbench.cli import report as command
from ssbench.errors import BadInputError
from ssbench.report.render import render
from ssbench.report.selection import choices, name_of
from ssbench.report.tables import USUAL_COLUMNS
from ssbench.storage.records import read_runs
from ssbench.storage.view import View
from tests.support.command_line import TINY, Invoke
from tests.support.paths import ROOT
from tests.support.records import Folder, Page, folder

__all__ = ["folder"]


@pytest.fixture
def full(folder: Folder) -> Folder:
    folder.dense()
    folder.row("magnitude", [5.0, 5.1, 5.2], threshold=0.5)
    folder.row("l0", [2.0, 2.1, 2.2], method="l0", threshold=0.1)
    folder.row("random (weight)", [9.0, 9.1, 9.2], method="random", threshold=0.3)
    return folder


def files(full: Folder, out: Path, **settings: object) -> dict[str, str]:
    view = View.model_validate(settings)
    written = render(full.path, out, ("md", "tex", "html", "csv"), view=view)
    return {path.suffix[1:]: path.read_text() for path in written if path.name.startswith("report")}


def names(markdown: str) -> list[str]:
    table = markdown.partition("| model |")[2].partition("\n\n")[0]
    return [line.split(" | ")[2] for line in table.splitlines()[2:]]


def test_columns_rows_and_order_are_the_same_in_every_format(full: Folder, tmp_path: Path) -> None:
    made = files(
        full, tmp_path / "out", columns=["threshold", "seconds_train"],
        rows=["l0", "magnitude@0.5", "rand*"], sort="-threshold",
    )  # fmt: skip
    expected = ["magnitude", "random (weight)", "l0"]
    assert names(made["md"]) == expected
    assert "| test error % | n | threshold | seconds train |\n" in made["md"]
    tex = made["tex"].partition(r"\bottomrule")[0].partition(r"\toprule")[2]
    places = [tex.index(f"& {name} &") for name in expected]
    assert places == sorted(places)
    assert "dense" not in tex
    assert "MACs" not in tex
    rows = Page(made["html"]).rows
    head = next(cells for cells, _ in rows if "model" in cells)
    assert [cell.replace("\xa0", " ") for cell in head[-4:]] == [
        "test error %", "n", "threshold", "seconds train",
    ]  # fmt: skip
    lines = list(csv.DictReader(made["csv"].splitlines()))
    assert [line["name"] for line in lines] == expected
    thresholds = [float(line["threshold_mean"]) for line in lines]
    assert thresholds == pytest.approx([0.5, 0.3, 0.1])
    assert "macs_nonzero" not in lines[0]
    assert [line["best"] for line in lines] == ["False", "False", "True"]
    assert float(lines[0]["seconds_train"]) == 4.0


def test_the_runs_behind_a_line_of_the_page_are_those_of_its_row(
    full: Folder, tmp_path: Path
) -> None:
    page = files(full, tmp_path / "out", rows=["l0", "magnitude"], sort="-error")["html"]
    texts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    data = next(each for each in map(json.loads, texts) if "tables" in each)
    (rows,) = data["tables"].values()
    assert [row["name"] for row in rows][:2] == ["magnitude", "l0"]


def test_bold_is_by_all_rows_and_the_caption_says_what_is_hidden(
    full: Folder, tmp_path: Path
) -> None:
    made = files(full, tmp_path / "out", rows=["magnitude"])["md"]
    assert names(made) == ["magnitude"]
    assert "**5.10" not in made  # l0 is better, though it is not shown
    assert "3 rows are not shown; bold and differences are by all rows." in made


@pytest.mark.parametrize("caption", ["full", "short", "none"])
def test_captions(caption: str, full: Folder, tmp_path: Path) -> None:
    made = files(full, tmp_path / "out", caption=caption)
    table = made["tex"].partition(r"\vspace")[0]
    short = "vgg6 on digits: test error, mean"
    assert (short in made["md"]) == (caption == "short")
    assert (r"\caption{" in table) == (caption != "none")
    assert ("1 per multiply-add" in table) == (caption == "full")
    assert r"\label{tab:" in table
    assert (
        re.search(r'<p class="caption" id="caption-[^"]*" hidden>', made["html"]) is not None
    ) == (caption == "none")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": ["tresh"]}, "columns: 'tresh': did you mean 'threshold'"),
        ({"rows": ["magnitud"]}, "rows: 'magnitud': no such row; did you mean 'magnitude'"),
        ({"sort": "nothing"}, "sort: 'nothing': "),
        ({"caption": "long"}, "report: caption: input should be 'full', 'short' or 'none'"),
    ],
)
def test_what_does_not_exist_is_refused(
    settings: dict[str, object], words: str, full: Folder, tmp_path: Path
) -> None:
    options = command.Rendering(("md",), out=tmp_path / "out", view=settings)
    with pytest.raises(BadInputError) as caught:
        command.render_folders([full.path], options)
    assert words in str(caught.value)
    assert not (tmp_path / "out" / "report.md").exists()


def test_every_usual_column_has_a_name_and_a_value(full: Folder) -> None:
    known = choices(USUAL_COLUMNS)
    assert {name_of(column) for column in USUAL_COLUMNS} <= known.keys()
    full.row("other", [3.0, 3.1], method="lamp")
    rows = full.page().rows
    for name, choice in known.items():
        for row in rows:
            assert isinstance(choice.column.write(row), str), name
            value = choice.value(row)
            assert value is None or isinstance(value, int | float), name


def test_an_experiment_says_how_its_report_looks_and_no_id_changes(
    tiny: Path, invoke: Invoke
) -> None:
    assert invoke("run", tiny, "--only", "dense", "--quiet").code == 0
    before = {path.name for path in Path("results/tiny").glob("*.jsonl")}
    table = '\n[report]\ncolumns = ["epochs"]\ncaption = "short"\n'
    tiny.write_text(TINY + table)
    ended = invoke("run", tiny, "--only", "dense")
    assert ended.code == 0
    assert {path.name for path in Path("results/tiny").glob("*.jsonl")} == before
    text = Path("results/tiny/report.md").read_text()
    assert "| test error % | n | epochs |\n" in text
    assert "MACs" not in ended.out
    invoke("report", "results/tiny", "--format", "md", "--columns", "params,macs")
    assert "| n | params | MACs |\n" in Path("results/tiny/report.md").read_text()
    tiny.write_text(TINY)
    assert invoke("run", tiny, "--only", "dense", "--quiet").code == 0
    assert "| n | params | params pruned % |" in Path("results/tiny/report.md").read_text()
    tiny.write_text(TINY + '\n[report]\ncolums = ["epochs"]\n')
    wrong = invoke("run", tiny)
    assert wrong.code == 2
    assert "report.colums: unknown key; did you mean 'columns'" in wrong.err


def test_a_folder_of_experiments_gets_an_index_with_headlines(
    tmp_path: Path, invoke: Invoke
) -> None:
    for name in ("first", "second"):
        place = Folder(tmp_path / "all" / name)
        place.path.mkdir(parents=True)
        place.dense(experiment=name)
        place.row("magnitude", [5.0, 5.1, 5.2], experiment=name)
        place.row("l0", [2.0, 2.1, 2.2], experiment=name)
    ended = invoke("report", tmp_path / "all", "--format", "md,html", "--json")
    written = json.loads(ended.out)["written"]
    assert str(tmp_path / "all" / "index.html") in written
    page = (tmp_path / "all" / "index.html").read_text()
    Page(page)
    text = (tmp_path / "all" / "index.md").read_text()
    for name in ("first", "second"):
        assert f'<a href="{name}/report.html">{name}</a>' in page
        assert (tmp_path / "all" / name / "report.html").is_file()
        assert f"[{name}]({name}/report.md)" in text
    runs = read_runs(tmp_path / "all" / "first")
    assert f"{len(runs)} finished runs" in text
    assert "l0" in text  # the headline
    assert "not shown" not in page
    alone = invoke("report", tmp_path / "all" / "first", "--format", "md", "--json")
    assert "index" not in alone.out


def test_the_page_opens_in_a_browser_or_says_that_there_is_none(tmp_path: Path) -> None:
    opened: list[str] = []

    def browser(address: str) -> bool:
        opened.append(address)
        return True

    pages = [tmp_path / "a" / "report.html", tmp_path / "index.html", tmp_path / "report.md"]
    command.open_page(pages, browser)
    command.open_page(pages[:1], browser)
    assert [address.rpartition("/")[2] for address in opened] == ["index.html", "report.html"]
    assert opened[0].startswith("file:///")
    with pytest.raises(BadInputError, match=r"no browser was found; open .*index.html yourself"):
        command.open_page(pages, lambda _: False)
    with pytest.raises(BadInputError, match="add html to --format"):
        command.open_page(pages[2:], browser)


def test_names_with_commas_in_brackets_are_one_row(invoke: Invoke, tmp_path: Path) -> None:
    reference = ROOT / "results" / "reference" / "quickstart"
    ended = invoke(
        "report", reference, "--out", tmp_path, "--format", "md",
        "--rows", "magnitude (weight, by params),l0@0.02",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    shown = set(names((tmp_path / "report.md").read_text()))
    assert {name.split(" §")[0].split(" ¶")[0] for name in shown} == {
        "magnitude (weight, by params)", "l0",
    }  # fmt: skip
