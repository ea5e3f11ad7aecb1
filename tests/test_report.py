"""The report from records written as files: what is said, what is bold, what is escaped."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssbench.errors import BadInputError
from ssbench.report import render, terminal_table
from ssbench.report.records import load
from ssbench.report.rows import rows
from ssbench.report.tables import tables, winners

FORMATS = ("md", "tex", "html", "csv")
ERRORS: dict[str, dict[float | None, list[float]]] = {  # label: {asked: errors by seed}
    "dense": {None: [1.0, 1.2, 1.1]},
    "random": {0.5: [2.0, 2.2, 2.4], 0.1: [60.0, 92.0, 91.0]},
    "magnitude (a_b & 5 %)": {0.5: [1.1, 1.3, 1.0], 0.1: [5.0, 5.5, 5.2]},
    "<script>alert(1)</script>": {0.5: [1.2, 1.2, 1.1], 0.1: [1.5, 1.6, 1.4]},
}


def record(label: str, asked: float | None, seed: int, error: float | None) -> dict[str, Any]:
    share = asked or 1.0
    sizes: dict[str, Any] = {}
    for unit, dense in (("params", 288_170), ("connections", 31_776), ("macs", 2_379_520)):
        sizes[f"{unit}_dense"] = dense
        sizes[f"{unit}_nonzero"] = sizes[f"{unit}_compact"] = round(dense * share)
    failed = error is None
    return sizes | {
        "format": 1, "run": f"{abs(hash(label))}-{asked}-{seed}", "experiment": "exp_1",
        "dataset": "digits", "model": "vgg6", "method": label.split()[0], "label": label,
        "settings": {}, "grain": "none" if asked is None else "connection", "seed": seed,
        "budget_unit": asked and "connections", "budget_asked": asked, "budget_reached": asked,
        "scope": asked and "global", "protection": asked and 0.0, "protected": 0,
        "threshold": asked and 0.0123, "stage": "finetune",
        "status": "failed" if failed else "done",
        "reason": "diverged: loss is nan_x" if failed else None,
        "epochs": 10, "epochs_total": 30, "test_top1_error": error, "test_loss": 0.1,
        "validation_top1_error": error, "test_top5_error": 0.0, "test_images": 500,
        "train_images": 1000, "validation_images": 297,
        "layers": {"features.0": 0.0 if asked == 0.1 and label == "random" else share},
        "device": "cpu", "device_name": "Testing CPU", "threads": 2,
        "versions": {"torch": "2.15.0", "python": "3.11"}, "commit": None, "seconds_train": 1.0,
        "time": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip


def write(folder: Path, *, fail: tuple[str, float, int] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, (label, budgets) in enumerate(ERRORS.items()):
        for asked, errors in budgets.items():
            for seed, error in enumerate(errors):
                value = None if (label, asked, seed) == fail else error
                lines = [record(label, asked, seed, value)]
                if asked and value is not None:
                    pruned = lines[0] | {"stage": "prune", "test_top1_error": 80.0}
                    lines.insert(0, pruned | {"seconds_prune": 0.1})
                text = "\n".join(json.dumps(line) for line in lines)
                (folder / f"run{i}-{asked}-{seed}.jsonl").write_text(text + "\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "exp_1")


def test_every_format_is_written_and_the_records_are_left_alone(folder: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}
    out = folder.parent / "out"
    out.mkdir()
    paths = render(folder, out, FORMATS)
    assert {p.name for p in paths} == {
        "report.md", "report.tex", "report.html", "report.csv", "accuracy-digits-vgg6.png",
        "accuracy-digits-vgg6.pdf", "accuracy-digits-vgg6.svg",
    }  # fmt: skip
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()} == before


def test_the_same_records_give_the_same_bytes(folder: Path) -> None:
    contents = []
    for name in ("one", "two"):
        out = folder.parent / name
        out.mkdir()
        contents.append({p.name: p.read_bytes() for p in render(folder, out, FORMATS)})
    assert contents[0] == contents[1]


def test_bold_follows_the_rule_in_both_directions(folder: Path) -> None:
    found = {label for label, _, asked in winners(rows(load(folder))) if asked == "0.5"}
    assert found == {"magnitude (a_b & 5 %)", "<script>alert(1)</script>"}
    found = {label for label, _, asked in winners(rows(load(folder))) if asked == "0.1"}
    assert found == {"<script>alert(1)</script>"}
    render(folder, folder, ["md"])
    lines = (folder / "report.md").read_text().splitlines()
    bold = [line for line in lines if line.startswith("|") and "**" in line]
    assert len(bold) == 3
    assert not any("dense" in line for line in bold)


def test_the_order_is_dense_then_falling_budgets_controls_first(folder: Path) -> None:
    (table,) = tables(rows(load(folder)))
    labels = [(line.row.label.split()[0], line.row.asked) for line in table.lines]
    names = ["random", "magnitude", "<script>alert(1)</script>"]
    assert labels == [("dense", None), *((n, 0.5) for n in names), *((n, 0.1) for n in names)]
    assert [line.starts_group for line in table.lines] == [
        False, True, False, False, True, False, False,
    ]  # fmt: skip


def test_the_caption_names_data_set_n_units_and_rule(folder: Path) -> None:
    (table,) = tables(rows(load(folder)))
    for words in ("vgg6 on digits", "n = 3", "1 per multiply-add", "Bold:", "last epoch",
                  "All rows have 30 epochs", "can separate"):  # fmt: skip
        assert words in table.caption
    render(folder, folder, FORMATS)
    for name in ("report.md", "report.tex", "report.html"):
        assert "vgg6 on digits. Test error of the last epoch" in (folder / name).read_text()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.seen.append(tag)
        if tag not in ("meta", "br", "path", "use", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("path", "use", "rect"):
            return
        assert self.open.pop() == tag


def test_html_is_balanced_self_contained_and_escaped(folder: Path) -> None:
    render(folder, folder, ["html"])
    text = (folder / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("<svg") == 1
    assert not re.search(r"(?:src|href)=\"https?:", text)


def test_latex_is_escaped_and_balanced(folder: Path) -> None:
    render(folder, folder, ["tex"])
    text = (folder / "report.tex").read_text()
    assert r"magnitude (a\_b \& 5 \%)" in text
    assert r"\textless{}script\textgreater{}" in text
    assert r"$\pm$" in text
    assert "±" not in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    bare = re.sub(r"\\[{}%&_#$]", "", text)
    assert bare.count("{") == bare.count("}")
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    rows_ = [line for line in body.splitlines() if line.strip().endswith(r"\\")]
    assert len(rows_) == 7
    assert all(len(re.findall(r"(?<!\\)&", line)) == 10 for line in rows_)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(folder: Path) -> None:
    render(folder, folder, ["tex"])
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (folder / "main.tex").write_text(head + "\\input{report}\n\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]


def test_csv_holds_the_raw_numbers(folder: Path) -> None:
    render(folder, folder, ["csv"])
    with (folder / "report.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 7
    line = next(x for x in lines if x["label"] == "random" and x["budget_asked"] == "0.1")
    assert float(line["test_top1_error_mean"]) == pytest.approx(81.0)
    assert float(line["test_top1_error_before_finetuning"]) == 80.0
    assert line["best_or_not_distinguishable"] == "False"
    assert int(line["layer_collapsed"]) == 3
    assert float(line["macs_nonzero"]) == 237_952


def test_failed_runs_are_shown_and_n_is_smaller(tmp_path: Path) -> None:
    folder = write(tmp_path / "exp_1", fail=("random", 0.5, 1))
    render(folder, folder, FORMATS)
    (table,) = tables(rows(load(folder)))
    line = next(x for x in table.lines if x.row.label == "random" and x.row.asked == 0.5)
    assert line.cells[3].text == "2"
    assert "failed, seed 1: diverged" in table.notes[line.cells[2].mark]
    for name, reason in (
        ("md", r"loss is nan\_x"), ("html", "loss is nan_x"), ("tex", r"loss is nan\_x")
    ):  # fmt: skip
        assert reason in (folder / f"report.{name}").read_text()


def test_a_collapsed_layer_is_marked(folder: Path) -> None:
    (table,) = tables(rows(load(folder)))
    assert "a layer lost all its weights in 3 of 3 runs" in table.notes.values()


def test_a_missed_budget_is_marked(folder: Path) -> None:
    for path in folder.glob("run1-0.5-*.jsonl"):
        lines = [json.loads(x) | {"budget_reached": 0.52} for x in path.read_text().splitlines()]
        path.write_text("\n".join(map(json.dumps, lines)))
    (table,) = tables(rows(load(folder)))
    assert any("0.5 % of the asked share" in note for note in table.notes.values())


def test_mixed_machines_are_called_out(folder: Path) -> None:
    path = folder / "run0-None-0.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"device_name": "Other CPU"}))
    render(folder, folder, ["md", "html"])
    for name in ("report.md", "report.html"):
        assert "more than one machine" in (folder / name).read_text()


def test_the_figure_has_a_line_for_every_method(folder: Path) -> None:
    render(folder, folder, ["html"])
    svg = (folder / "accuracy-digits-vgg6.svg").read_text()
    # Three methods in three panels, each with a band.
    assert len(re.findall(r'id="FillBetweenPolyCollection_\d+"', svg)) == 9
    assert "<script>" not in svg


def test_mixed_experiments_and_broken_lines_are_refused(folder: Path) -> None:
    path = folder / "run0-None-0.jsonl"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"run0-None-0\.jsonl, line 1: not JSON"):
        load(folder)
    path.write_text(json.dumps(json.loads(whole) | {"experiment": "other"}))
    with pytest.raises(BadInputError, match="mixes the experiments exp_1, other"):
        load(folder)
    path.write_text(json.dumps(json.loads(whole) | {"format": 99}))
    with pytest.raises(BadInputError, match="has format 99"):
        load(folder)
    path.write_text("")
    with pytest.raises(BadInputError, match="empty"):
        load(folder)


def test_the_terminal_table_fits_narrow_terminals(folder: Path) -> None:
    from rich.console import Console

    for width, headers in ((160, ("Threshold", "Epochs")), (80, ("MACs", "Params"))):
        console = Console(width=width, record=True, file=(folder / "out.txt").open("w"))
        console.print(terminal_table(folder, width))
        text = console.export_text()
        console.file.close()
        assert all(header in text for header in headers)
        assert "…" not in text
