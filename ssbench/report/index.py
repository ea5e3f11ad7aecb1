"""The index page of a folder of experiments: each with its headline, linked to its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ssbench.analysis.headline import headline
from ssbench.analysis.rows import Row, by_table, make_rows
from ssbench.report.formats.environment import environment, write
from ssbench.storage.records import read_runs

KINDS = ("html", "md")
"""The formats of an index."""


@dataclass(frozen=True)
class Entry:
    """An experiment: the folder of its records, and the folder of its report."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Line:
    """What an index says about an experiment."""

    name: str
    link: str
    headline: tuple[str, str]
    tables: tuple[str, ...]
    done: int
    failed: int


def write_index(
    folder: Path, out: Path, entries: Sequence[Entry], formats: Sequence[str]
) -> list[Path]:
    """Write ``index.html`` and ``index.md``, as far as the formats ask for them.

    Args:
        folder: of the experiments, whose name is the title.
        out: where to write.
        entries: the experiments, whose reports exist.
        formats: of the reports.

    Raises:
        BadInputError: ``out`` cannot be written.
    """
    kinds = [kind for kind in KINDS if kind in formats]
    lines = [_line(entry, out) for entry in entries] if kinds else []
    title = folder.resolve().name
    files = {
        f"index.{kind}": environment(kind)
        .get_template(f"index.{kind}.j2")
        .render(title=title, lines=lines)
        .encode()
        for kind in kinds
    }
    return write(out, files)


def _line(entry: Entry, out: Path) -> Line:
    rows, _ = make_rows(read_runs(entry.source))
    tables = by_table(rows)
    parts: list[tuple[str, Sequence[Row]]] = [
        (f"{model} on {dataset}", group) for (dataset, model), group in tables.items()
    ]
    link = Path(os.path.relpath(entry.target, out)).as_posix()
    return Line(
        name=rows[0].like.experiment,
        link=quote(link),
        headline=headline(parts).sentences,
        tables=tuple(title for title, _ in parts),
        done=sum(len(row.done) for row in rows),
        failed=sum(len(row.failed) for row in rows),
    )
