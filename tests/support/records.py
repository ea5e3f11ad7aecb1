"""Folders of records written by hand, and the pages and published rows made of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssbench.analysis.published import Line, Published, collect
from ssbench.report.page import make_page
from ssbench.report.render import render as render_report
from ssbench.storage.records import read_runs

HEADER = ",".join(Line.model_fields)


SCRIPT, INPUT = "<script>alert(1)</script>", r"\input{x}"


def line(**changes: str) -> str:
    """A line of a file, of a network that is half of its dense one."""
    cells = {"dataset": "digits", "model": "vgg6", "method": "theirs", "variant": "half",
             "top1_error": "0.5", "params": "500", "flops": "5e3", "flops_convention": "mul+add",
             "source": "Someone 2020, Table 1"} | changes  # fmt: skip
    quoted = {key: f'"{value.replace(chr(34), 2 * chr(34))}"' for key, value in cells.items()}
    return ",".join(quoted.get(key, "") for key in Line.model_fields)


DENSE = line(method="dense", variant="theirs", params="1000", flops="20e3")


def own(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return path


def read(path: Path, *lines: str) -> list[Published]:
    return collect([own(path, *lines)], shipped=False)


ALL = ("md", "tex", "html", "csv")


WIDE = "\\input{x} <script> caf\u00e9 \u03bb \u2264 \u0142\u0151 \u65b9 \U0001f642 -- ?` x\u2212y"


NASTY = r"50%_of #1 & ~x^2 {a} $b$ \c|d [e] `f` *g*"


VERSIONS = {"ssbench": "0.1.0", "torch": "2.15.0"}


def record(stage: str, seed: int, error: float | None, **changes: Any) -> dict[str, Any]:
    """One line of a result file, of a network with 1,000 weights, 100 kernels and 5,000 MACs."""
    asked = changes.get("budget_asked", 0.5)
    kept = asked if isinstance(asked, float) else 0.3 if asked else 1.0
    line: dict[str, Any] = {
        "format": 1, "run": f"run-{seed}", "experiment": "exp", "dataset": "digits",
        "model": "vgg6", "method": "magnitude", "label": "magnitude", "settings": {},
        "grain": "connection", "seed": seed, "budget_unit": "params", "budget_asked": 0.5,
        "budget_reached": kept, "scope": "global", "protection": 0.0, "protected": 0,
        "threshold": 0.25, "stage": stage, "stage_id": "00", "status": "done", "reason": None,
        "epochs": 0 if stage == "prune" else 10, "epochs_total": 20, "train_loss": 0.1,
        "validation_loss": 0.1, "validation_top1_error": error, "validation_top5_error": 1.0,
        "test_loss": 0.1, "test_top1_error": error, "test_top5_error": 0.5,
        "train_images": 1000, "validation_images": 200, "test_images": 5000,
        "params_dense": 1000, "params_nonzero": round(1000 * kept), "params_compact": 900,
        "connections_dense": 100, "connections_nonzero": round(100 * kept),
        "connections_compact": 90, "macs_dense": 5000, "macs_nonzero": round(5000 * kept),
        "macs_compact": 4500, "uncounted": {}, "layers": {"a.2": kept, "a.10": kept},
        "seconds_train": 2.0, "seconds_penalty": 0.1, "seconds_prune": 0.5,
        "images_per_second": 100.0, "peak_memory_bytes": 1, "device": "cpu",
        "device_name": "A processor", "threads": 2, "versions": VERSIONS, "commit": "abc",
        "time": "2030-01-01T00:00:00+00:00",
    }  # fmt: skip
    return line | changes


class Folder:
    """An experiment's folder that is filled run by run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers = itertools.count()

    def run(self, seed: int, error: float, **changes: Any) -> Path:
        """Write a finished run; it had 40 points more error before finetuning."""
        changes = {"run": f"run-{next(self.numbers):03}"} | changes
        before = record("prune", seed, min(100.0, error + 40), **changes)
        return self.write([before, record("finetune", seed, error, **changes)])

    def row(self, label: str, errors: Sequence[float], **changes: Any) -> None:
        for seed, error in enumerate(errors):
            self.run(seed, error, label=label, **changes)

    def dense(self, errors: Sequence[float] = (3.0, 3.1, 3.2), **changes: Any) -> None:
        none: dict[str, Any] = {
            "budget_unit": None,
            "budget_asked": None,
            "budget_reached": None,
            "layers": {},
        }
        self.row("dense", errors, method="dense", grain="none", **none | changes)

    def fail(self, seed: int, reason: str, **changes: Any) -> None:
        changes = {"run": f"run-{next(self.numbers):03}"} | changes
        end = record("finetune", seed, None, **changes)
        for key in list(end):
            if key.startswith(("test", "val", "params", "macs", "conn", "device", "versions")):
                end[key] = None
        trained = record("train", seed, 1.0, **changes)
        self.write([trained, end | {"status": "failed", "reason": reason, "layers": {}}])

    def write(self, lines: list[dict[str, Any]]) -> Path:
        path = self.path / f"{lines[0]['run']}.jsonl"
        path.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
        return path

    def render(self, *formats: str) -> dict[str, str]:
        """Render beside the records; return the content of the text files by kind."""
        paths = render_report(self.path, self.path, formats or ALL)
        return {p.suffix[1:]: p.read_text() for p in paths if p.name.startswith("report.")}

    def page(self) -> Any:
        return make_page(read_runs(self.path))

    def caption(self) -> str:
        return str(self.page().sections[0].table.caption)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class Page(HTMLParser):
    """Checks nesting and collects identifiers, text in bold and the rows of tables."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.rows: list[tuple[list[str], bool]] = []
        self.text = ""
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(([], False))
        if tag in ("td", "th"):
            self.rows[-1][0].append("")
        if tag == "strong" and "table" in self.open:
            self.rows[-1] = (self.rows[-1][0], True)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open) and "sup" not in self.open:
            self.rows[-1][0][-1] += data
