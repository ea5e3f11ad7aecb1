"""Formats of a report: escape text for each, and write its files whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jinja2

from ssbench.errors import BadInputError
from ssbench.report.figures.export import KINDS
from ssbench.report.formats.escape import markdown
from ssbench.report.formats.latex import tex
from ssbench.storage.files import make_folder
from ssbench.storage.files import write as write_file

FORMATS = ("md", "tex", "html", "csv")
"""The formats written by default."""
OPTIONAL = ("parquet", *KINDS)
"""The formats written on request: all runs as one table, and every figure as a file."""


def check(formats: Sequence[str], known: Sequence[str] = FORMATS) -> None:
    """Check that all formats are known.

    Raises:
        BadInputError: one is not.
    """
    unknown = sorted(set(formats) - set(known))
    if unknown:
        raise BadInputError(f"{', '.join(unknown)}: not a format here; known: {', '.join(known)}")


def write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files by name into a folder, made if missing, and return their paths.

    Raises:
        BadInputError: the folder cannot be written.
    """
    make_folder(folder, "--out")
    for name, content in files.items():
        write_file(folder / name, content)
    return [folder / name for name in files]


def environment(kind: str) -> jinja2.Environment:
    """Make a Jinja environment that escapes everything it prints for the format."""
    escapes: dict[str, Callable[[object], str]] = {"tex": tex, "md": markdown}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ssbench.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=kind == "html",  # noqa: S701 -- for the others, finalize escapes
        finalize=escapes.get(kind),
    )
    if kind != "tex":
        return environment
    # LaTeX has braces, percent and number signs of its own.
    return environment.overlay(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
