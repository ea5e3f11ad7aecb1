"""Write the report in the formats asked for, with Jinja; a file is replaced in whole."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ssbench.report.csv import as_csv
from ssbench.report.figures import draw
from ssbench.report.records import Record, load
from ssbench.report.rows import Row, rows
from ssbench.report.tables import HEADERS, asked, number, percent, size, spread, tables

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "–": "--", "|": r"\textbar{}",  # noqa: RUF001
}  # fmt: skip


def render(folder: Path, out: Path, formats: Sequence[str]) -> list[Path]:
    """Render the records of one folder.

    Args:
        folder: holds the records; is only read.
        out: where report.md, .tex, .html, .csv and the figures go.
        formats: some of md, tex, html, csv.

    Returns:
        The files written.

    Raises:
        BadInputError: the records cannot be read.
    """
    runs = load(folder)
    found = rows(runs)
    written: list[Path] = []
    if "csv" in formats:
        written.append(_write(out / "report.csv", as_csv(found).encode()))
    pages = [kind for kind in ("md", "tex", "html") if kind in formats]
    if pages:
        context = _context(runs, found)
        kinds = {"md": "png", "tex": "pdf", "html": "svg"}
        for table in context["tables"]:
            shown = [line.row for line in table.lines]
            for kind in pages:
                path = out / f"accuracy-{table.label}.{kinds[kind]}"
                written.append(_write(path, draw(shown, kinds[kind])))
        for kind in pages:
            text = _environment(kind, out).get_template(f"report.{kind}.j2").render(context)
            written.append(_write(out / f"report.{kind}", text.encode()))
    return written


def _context(runs: list[list[Record]], found: list[Row]) -> dict[str, Any]:
    results = [run[-1] for run in runs]
    measured = [record for record in results if record["status"] == "done"]
    return {
        "experiment": results[0]["experiment"],
        "tables": tables(found),
        "headers": HEADERS,
        "machines": sorted({_machine(record) for record in measured}),
        "images": sorted({_images(record) for record in measured}),
        "failed": [record for record in results if record["status"] == "failed"],
        "runs": len(runs),
    }


def _machine(record: Record) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in sorted(record["versions"].items()))
    threads = f", {record['threads']} threads" if record["device"] == "cpu" else ""
    commit = f"; commit {record['commit']}" if record.get("commit") else ""
    return f"{record['device_name']} ({record['device']}{threads}); {versions}{commit}"


def _images(record: Record) -> str:
    return (
        f"{record['dataset']}: {record['train_images']:,} training, "
        f"{record['validation_images']:,} validation, {record['test_images']:,} test images"
    )


def _environment(kind: str, out: Path) -> jinja2.Environment:
    loader = jinja2.PackageLoader("ssbench.report")
    common: dict[str, Any] = {
        "loader": loader, "undefined": jinja2.StrictUndefined,
        "trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True,
    }  # fmt: skip
    if kind == "tex":
        environment = jinja2.Environment(  # noqa: S701 -- finalize escapes every value for TeX
            block_start_string="<%", block_end_string="%>", variable_start_string="<<",
            variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
            finalize=lambda value: value if isinstance(value, Markup) else tex(str(value)),
            **common,
        )  # fmt: skip
    elif kind == "html":
        environment = jinja2.Environment(autoescape=True, **common)
        environment.globals["figure"] = lambda label: _inline(out, label)
    else:
        environment = jinja2.Environment(  # noqa: S701 -- finalize escapes every value for Markdown
            finalize=lambda value: value if isinstance(value, Markup) else markdown(str(value)),
            **common,
        )
    for function in (asked, number, percent, size, spread):
        environment.filters[function.__name__] = function
    environment.filters["raw"] = Markup
    return environment


def tex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_TEX.get(character, character) for character in text)


def markdown(text: str) -> str:
    """Escape text for a Markdown table."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", text)


def _inline(out: Path, label: str) -> Markup:
    """The figure's SVG, without its XML head, for a page that is one file."""
    svg = (out / f"accuracy-{label}.svg").read_text(encoding="utf-8")
    return Markup(svg[svg.index("<svg") :])  # noqa: S704 -- matplotlib escapes what it draws


def _write(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path
