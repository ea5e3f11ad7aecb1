"""Folders of files by name, each there in whole or not at all; in a local folder or behind a URL.

    <cache>/stages/<name>/manifest.json, and the files it names     one folder per name
    <cache>/locks/stages/<name>                                     while a process is at it

Imports no torch.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ssbench.errors import BadInputError, DamagedError
from ssbench.storage import files as files_
from ssbench.storage.files import entries, make_folder, sync
from ssbench.storage.locks import hold, sweep
from ssbench.storage.manifest import MANIFEST, REMEDY, Manifest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class FolderStore(ABC):
    """Finished folders, by name.

    Attributes:
        place: where they are, for messages.
        locks: the folder of the locks.
    """

    def __init__(self, place: str, locks: Path) -> None:
        self.place, self.locks = place, locks

    @abstractmethod
    def prepare(self) -> None:
        """Make it, and remove what processes that are no longer alive left in it.

        Raises:
            BadInputError: it cannot be written.
        """

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether a folder is there; those that are, are complete."""

    @abstractmethod
    def names(self) -> set[str]:
        """The names of all folders, by one look; of what another program left there too."""

    @abstractmethod
    def put(self, name: str, files: Path) -> None:
        """Take in a local folder's files, in whole or not at all.

        Raises:
            OSError: a local disk is full, or the folder has been removed meanwhile.
            BadInputError: a store behind a URL does not answer.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a folder; one that is not there is no error."""

    @abstractmethod
    def workspace(self) -> AbstractContextManager[Path]:
        """A local folder for files that are to be put here; gone afterwards."""

    @abstractmethod
    def manifest(self, name: str) -> Manifest | None:
        """Read what a folder says of itself; None where it was written before there were manifests.

        Raises:
            DamagedError: it cannot be read, or the folder is not there.
        """

    @abstractmethod
    def content(self, name: str, file: str) -> bytes:
        """Read a file, unchecked.

        Raises:
            OSError: it cannot be read.
        """

    def read(self, name: str, file: str) -> bytes:
        """Read a file of a folder, and see that it is as it was written.

        What is checked is what is returned. A file mapped into memory instead could change after
        it was checked, and end the process by a signal if it shrinks.

        Raises:
            DamagedError: it is not as it was written, or not there.
        """
        manifest, place = self.manifest(name), f"{self.place}/{name}"
        inside = f"{manifest.folder}/{file}" if manifest and manifest.folder else file
        try:
            content = self.content(name, inside)
        except OSError as error:
            what = f"damaged ({error.strerror or error})"
            raise DamagedError(f"{place}/{file}", what, REMEDY) from error
        if manifest:
            manifest.check(file, content, place)
        return content

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Be the only process that works at a name.

        Raises:
            BusyError: another one is.
        """
        return hold(self.locks / valid(name))


def valid(name: str) -> str:
    """Return a name that is one, and leads to no other folder.

    Raises:
        BadInputError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"{name[:60]!r}: not the id of a stage; the record that names it was not written by "
            "ssbench"
        )
    return name


class LocalFolderStore(FolderStore):
    """Folders under a folder: written under another name beside it, synced and renamed."""

    def __init__(self, cache: Path, part: str) -> None:
        super().__init__(str(cache / part), cache / "locks" / part)
        self.folder = cache / part

    def prepare(self) -> None:
        """See `Shelf`."""
        make_folder(self.folder, "--cache")
        files_.sweep(self.folder, "unfinished-")
        sweep(self.locks)

    def has(self, name: str) -> bool:
        """See `Shelf`; a folder without its record, which another program left, is none."""
        folder = self.folder / valid(name)
        return (folder / MANIFEST).is_file() or (folder / "record.json").is_file()

    def names(self) -> set[str]:
        """See `Shelf`."""
        return {name for name in entries(self.folder) if not name.startswith("unfinished-")}

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """See `Shelf`."""
        self.folder.mkdir(parents=True, exist_ok=True)  # it may have been removed since
        prefix = files_.owned("unfinished")
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, name: str, files: Path) -> None:
        """See `Shelf`; of several writers the first one's stays."""
        target = self.folder / valid(name)
        (files / MANIFEST).write_text(Manifest.of(files).model_dump_json(), encoding="utf-8")
        for path in (*files.iterdir(), files):
            sync(path)
        if not self._rename(files, target):
            self.remove(name)  # not complete, and so none of ours
            self._rename(files, target)
        sync(self.folder)

    def _rename(self, files: Path, target: Path) -> bool:
        """Give a folder its name unless the name is taken; whether it is by a complete one."""
        try:
            files.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        return self.has(target.name)

    def remove(self, name: str) -> None:
        """See `Shelf`; of a link the link."""
        folder = self.folder / valid(name)
        with suppress(OSError):
            if folder.is_symlink() or not folder.is_dir():
                folder.unlink()
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def manifest(self, name: str) -> Manifest | None:
        """See `Shelf`."""
        folder = self.folder / valid(name)
        if not self.has(name):
            raise DamagedError(str(folder), "no longer there", REMEDY)
        try:
            return Manifest.parse((folder / MANIFEST).read_bytes(), str(folder))
        except FileNotFoundError:
            return None
        except OSError as error:
            what = f"damaged ({error.strerror})"
            raise DamagedError(f"{folder}/{MANIFEST}", what, REMEDY) from error

    def content(self, name: str, file: str) -> bytes:
        """See `Shelf`."""
        return (self.folder / valid(name) / file).read_bytes()
