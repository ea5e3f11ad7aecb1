"""Folders of files by name, each complete or absent; in a local folder or behind a URL.

    <cache>/stages/<name>/manifest.json, and the files it names     one folder per name
    <cache>/locks/stages/<name>                                     while a process works at it

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
        place: their location, for messages.
        locks: the folder of the locks.
    """

    def __init__(self, place: str, locks: Path) -> None:
        self.place, self.locks = place, locks

    @abstractmethod
    def prepare(self) -> None:
        """Make the folder, and remove what dead processes left in it.

        Raises:
            BadInputError: it cannot be written.
        """

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether a folder is there; every folder that is there is complete."""

    @abstractmethod
    def names(self) -> set[str]:
        """Return the names of all folders in one listing, strangers included."""

    @abstractmethod
    def put(self, name: str, files: Path) -> None:
        """Store a local folder's files, all or none.

        Raises:
            OSError: a local disk is full, or someone removed the folder meanwhile.
            BadInputError: a store behind a URL does not answer.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a folder, if it is there."""

    @abstractmethod
    def workspace(self) -> AbstractContextManager[Path]:
        """Yield a temporary local folder for files to be stored."""

    @abstractmethod
    def manifest(self, name: str) -> Manifest | None:
        """Read the manifest of a folder; None for folders older than manifests.

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
        """Read a file of a folder and verify it.

        Returns exactly the bytes that were checked. A file mapped into memory could change after
        the check, and would end the process by a signal if it shrank.

        Raises:
            DamagedError: the file was altered or is missing.
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
        """Lock a name, so that only this process works at it.

        Raises:
            BusyError: another process holds it.
        """
        return hold(self.locks / valid(name))


def valid(name: str) -> str:
    """Return a name after checking that it cannot lead to another folder.

    Raises:
        BadInputError: it is not a valid name.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f"{name[:60]!r}: not the id of a stage; the record that names it was not written by "
            "ssbench"
        )
    return name


class LocalFolderStore(FolderStore):
    """Local folders: written under a temporary name, synced, then renamed."""

    def __init__(self, cache: Path, part: str) -> None:
        super().__init__(str(cache / part), cache / "locks" / part)
        self.folder = cache / part

    def prepare(self) -> None:
        """See `FolderStore`."""
        make_folder(self.folder, "--cache")
        files_.sweep(self.folder, "unfinished-")
        sweep(self.locks)

    def has(self, name: str) -> bool:
        """See `FolderStore`; a folder without its record is not ours."""
        folder = self.folder / valid(name)
        return (folder / MANIFEST).is_file() or (folder / "record.json").is_file()

    def names(self) -> set[str]:
        """See `FolderStore`."""
        return {name for name in entries(self.folder) if not name.startswith("unfinished-")}

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """See `FolderStore`."""
        self.folder.mkdir(parents=True, exist_ok=True)  # someone may have removed it since
        prefix = files_.owned("unfinished")
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, name: str, files: Path) -> None:
        """See `FolderStore`; with several writers the first one wins."""
        target = self.folder / valid(name)
        (files / MANIFEST).write_text(Manifest.of(files).model_dump_json(), encoding="utf-8")
        for path in (*files.iterdir(), files):
            sync(path)
        if not self._rename(files, target):
            self.remove(name)  # incomplete, so not ours
            self._rename(files, target)
        sync(self.folder)

    def _rename(self, files: Path, target: Path) -> bool:
        """Rename a folder unless the name is taken; return whether a complete one has it."""
        try:
            files.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        return self.has(target.name)

    def remove(self, name: str) -> None:
        """See `FolderStore`; removes a link, not its target."""
        folder = self.folder / valid(name)
        with suppress(OSError):
            if folder.is_symlink() or not folder.is_dir():
                folder.unlink()
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def manifest(self, name: str) -> Manifest | None:
        """See `FolderStore`."""
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
        """See `FolderStore`."""
        return (self.folder / valid(name) / file).read_bytes()
