"""Names of what is not finished, by which it can be told whose it was.

A process that is killed leaves what it was writing; whoever comes next removes it, if it can be
sure that the process is no more.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

_OWNED = re.compile(r"-(\d+)-([A-Za-z0-9_]+)-[^-]*$")


def owned(prefix: str) -> str:
    """Return the beginning of a name that says which process it is of, for `tempfile`."""
    return f"{prefix}-{os.getpid()}-{_host()}-"


def sweep(folder: Path, prefix: str) -> None:
    """Remove files and folders of such names that processes which are no more have left."""
    for path in folder.glob(f"{prefix}*"):
        if not _abandoned(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", socket.gethostname())


def _abandoned(name: str) -> bool:
    """Whether a name is of a process that is no more.

    Of another machine's processes nothing is known: what is theirs stays.
    """
    found = _OWNED.search(name)
    if not found or found[2] != _host():
        return False
    try:
        os.kill(int(found[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
