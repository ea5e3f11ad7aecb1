"""Decide by content whether a report matches the records beside it; clocks can be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ssbench import __version__
from ssbench.paths import bench_folder
from ssbench.storage.files import checksum, write
from ssbench.storage.view import FILE

NOTE = ".rendered"
"""The file beside a report with the checksum of everything that it was rendered from."""


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 of everything a report is rendered from: records, published rows, claims."""
    digest = hashlib.sha256(__version__.encode())
    for path in _sources(folder):
        digest.update(f"{path.name}\0{checksum(path)}\0".encode())
    return digest.hexdigest()


def is_fresh(folder: Path, found: str) -> bool:
    """Whether the report was rendered from the content with this fingerprint."""
    note = folder / NOTE
    try:
        return (folder / "report.html").exists() and note.read_text(encoding="utf-8") == found
    except (OSError, UnicodeDecodeError):
        return False


def note(folder: Path, found: str) -> None:
    """Store the fingerprint, taken before rendering, beside the report."""
    write(folder / NOTE, found)


def forget(folder: Path) -> None:
    """Note that another page is about to replace the report."""
    (folder / NOTE).unlink(missing_ok=True)


def _sources(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.jsonl"))
    beside = (folder / "experiment.json", folder / FILE)
    yield from (path for path in beside if path.is_file())
    yield from sorted(bench_folder().glob("*.csv"))
    yield from sorted(bench_folder().glob("claims/*.toml"))
