"""Write files whole or not at all, and read them up to a limit."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssbench.errors import BadInputError

_OWNED = re.compile(r"-(\d+)-([A-Za-z0-9_]+)-[^-]*$")


def owned(prefix: str) -> str:
    """Return a prefix for `tempfile` that names this process."""
    return f"{prefix}-{os.getpid()}-{_host()}-"


def sweep(folder: Path, prefix: str) -> None:
    """Remove files and folders that dead processes left under such names."""
    for path in folder.glob(f"{prefix}*"):
        if not abandoned(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())


def abandoned(name: str) -> bool:
    """Whether the process that a name belongs to is dead.

    Files of other machines stay: nothing is known of their processes.
    """
    owner = _OWNED.search(name)
    if not owner or owner[2] != _host():
        return False
    try:
        os.kill(int(owner[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def make_folder(folder: Path, option: str) -> None:
    """Make a folder and check that it is writable.

    Raises:
        BadInputError: names the folder and the option that chooses another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInputError(
            f"{folder}: cannot be written ({error.strerror}); choose another with {option}"
        ) from error


def unwritable(place: Path | str, error: OSError) -> BadInputError:
    """Say why writing failed while a command ran, and what helps."""
    if error.errno in _FULL:
        what, remedy = "the disk is full", "free some space"
    elif error.errno in _CLOSED:
        what, remedy = "cannot be written", "make it writable"
    else:
        what, remedy = "writing failed", "see to the disk"
    return BadInputError(
        f"{place}: {what} ({error.strerror or error}); {remedy}, or choose another folder, and "
        "start again: what is finished is kept"
    )


def write(path: Path, content: str | bytes) -> None:
    """Replace a file whole or not at all. Replaces a link, not its target.

    Raises:
        BadInputError: the disk is full, or cannot be written.
    """
    with _written(path, content) as new:
        new.replace(path)


def create(path: Path, text: str) -> bool:
    """Write a file whole unless the name is taken; return whether it was written.

    Of several processes exactly one writes it.

    Raises:
        BadInputError: the disk is full, or cannot be written.
    """
    with _written(path, text) as new:
        try:
            path.hardlink_to(new)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno in _FULL:
                raise
            if path.exists():
                return False
            new.replace(path)  # a file system without hard links
    return True


@contextmanager
def _written(path: Path, content: str | bytes) -> Iterator[Path]:
    """Yield a temporary file with this content beside ``path``, synced to the disk."""
    try:
        prefix = owned(f".{_short(path.name)}")
        handle, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)  # mkstemp's 0600 would hide files from colleagues
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def _short(name: str) -> str:
    """Cut a name to 100 bytes; file systems allow 255 in all."""
    return name.encode(errors="replace")[:100].decode(errors="ignore")


def sync(path: Path) -> None:
    """Sync a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes.

    Raises:
        BadInputError: it is larger, or not a readable file (a folder, a pipe, a device).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadInputError(f"{path}: cannot be read (not a file); name a readable file")
        with path.open("rb") as file:
            content = file.read(limit + 1) if status.st_size <= limit else None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise BadInputError(f"{path}: cannot be read ({error}); name a readable file") from error
    if content is None or len(content) > limit:
        raise BadInputError(
            f"{path}: larger than the {limit / 2**20:g} MiB that such a file may have "
            f"({status.st_size:,} bytes): not one of ssbench's; remove it"
        )
    return content


def checksum(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits; memory stays bounded."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entries(folder: Path) -> set[str]:
    """Return the names of all entries of a folder; empty if there is no such folder.

    Raises:
        PermissionError: the folder is not readable; `Path.glob` would silently find nothing.
    """
    try:
        with os.scandir(folder) as listing:
            return {entry.name for entry in listing}
    except (FileNotFoundError, NotADirectoryError):
        return set()
