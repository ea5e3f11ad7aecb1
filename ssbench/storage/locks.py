"""Named locks between processes; a crash frees them.

They are the kernel's (``flock``): however a process ends, its locks end with it, so that no lock is
ever stale and none has to be judged by its age. They hold between the processes of one machine, and
between machines where the file system passes them on (NFS 4, and 3 with ``lockd``; not with the
mount options ``nolock`` or ``local_lock``). A file system without locks gives none: two
processes may then do the same work, but files are still written whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssbench.storage.files import unwritable

_NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Error numbers of file systems without locks."""


class BusyError(Exception):
    """Another process holds the lock; ``holder`` names it."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which exists only while the lock is held.

    Raises:
        BusyError: another process, or other code of this one, holds it.
        BadInputError: the file cannot be written.
    """
    try:
        descriptor = _take(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        # Remove the file before unlocking: a process that waits for it then notices and retries.
        # If someone removed the folder meanwhile, another process may own the file of this name.
        with suppress(OSError):
            if _is(path, descriptor):
                path.unlink()
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the lock files of killed processes; those in use stay."""
    for path in folder.glob("*"):
        with suppress(BusyError), hold(path):
            pass


def _take(path: Path) -> int:
    """Open and lock a file; return its descriptor."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Open for writing: NFS gives exclusive locks only then.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # someone removed the folder in between
            continue
        try:
            _lock(descriptor)
            if _is(path, descriptor):
                with suppress(OSError):  # only people read it: a full disk is no obstacle
                    os.ftruncate(descriptor, 0)
                    os.write(
                        descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode()
                    )
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has just removed it


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        raise BusyError(holder or "another process") from error
    except OSError as error:
        if error.errno not in _NONE:
            raise


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
