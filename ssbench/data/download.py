"""Find, verify and download the files of data sets."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbench.errors import BadInputError


@dataclass(frozen=True)
class Known:
    """A file of a data set, with its checksums.

    Attributes:
        name: the file's name, with folders.
        md5: the published checksum of the file.
        url: its address.
        content: SHA-256 of a .gz file's unpacked content, for repacked copies.
    """

    name: str
    md5: str
    url: str = ""
    content: str = ""


def data_root(option: Path | None) -> Path:
    """Return the folder of data sets: the option, $SSBENCH_DATA or ~/.cache/ssbench/data."""
    if option is not None:
        return option
    named = os.environ.get("SSBENCH_DATA")
    return Path(named) if named else Path.home() / ".cache" / "ssbench" / "data"


def read(files: Sequence[Known], folders: Sequence[Path], dataset: str) -> dict[str, bytes]:
    """Read and verify the files of a data set, from the first folder that has one of them.

    Returns:
        The content by file name, unpacked if the file is a .gz.

    Raises:
        BadInputError: a file is missing or wrong; names it with the expected and the actual
            checksum.
    """
    folder = next((f for f in folders if any((f / k.name).is_file() for k in files)), None)
    if folder is None:
        raise BadInputError(f"{missing(files, folders[0], dataset)}")
    return {known.name: _verified(folder / known.name, known, dataset) for known in files}


def missing(files: Sequence[Known], folder: Path, dataset: str) -> str:
    """Say which files are missing, and where to put them."""
    lines = [f"  {known.name}  (md5 {known.md5})" for known in files]
    return (
        f"data set {dataset!r} is not here; `ssbench data {dataset}` fetches it, or put these "
        f"files into {folder}:\n" + "\n".join(lines)
    )


def _verified(path: Path, known: Known, dataset: str) -> bytes:
    remedy = f"remove it and run `ssbench data {dataset}`, or put the right file there"
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path}: {'missing' if not path.exists() else f'cannot be read ({error})'}; expected "
            f"a file with md5 {known.md5}; {remedy}"
        ) from error
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    content = packed
    if path.suffix == ".gz" and not path.name.endswith(".tar.gz"):
        try:
            content = gzip.decompress(packed)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInputError(
                f"{path}: damaged ({error}); expected md5 {known.md5}, found {found}; {remedy}"
            ) from error
    if found != known.md5 and hashlib.sha256(content).hexdigest() != known.content:
        raise BadInputError(
            f"{path}: not the published file: expected md5 {known.md5}, found {found}; {remedy}"
        )
    return content


Download = Callable[[str, Path], None]
"""Downloads an address to a path; raises OSError if it cannot be reached."""


def fetch(files: Sequence[Known], folder: Path, dataset: str, download: Download) -> list[Path]:
    """Download missing files; each appears complete and verified, or not at all.

    Returns:
        The fetched files.

    Raises:
        BadInputError: there is no network, or a download is not the published file.
    """
    fetched = []
    for known in files:
        path = folder / known.name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{os.getpid()}-{path.name}")
        try:
            download(known.url, part)
            _verified(part, known, dataset)
            part.replace(path)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise BadInputError(
                f"{known.url} cannot be fetched ({reason}). {missing(files, folder, dataset)}"
            ) from error
        finally:
            part.unlink(missing_ok=True)
        fetched.append(path)
    return fetched
