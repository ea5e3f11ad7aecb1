"""A cache behind a URL: any file system that fsspec knows (``s3://``, ``gs://``, ``file://`` …).

Object stores cannot rename. So each upload goes to a name of its own, and a small manifest that
points to it comes last: what has a manifest is complete. No lock spans machines, so two of them may
compute the same stage; the manifest then points to one of the two, complete.
"""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError, DamagedError
from ssbench.paths import install
from ssbench.storage.folders import FolderStore, LocalFolderStore, valid
from ssbench.storage.locks import sweep
from ssbench.storage.manifest import MANIFEST, REMEDY, Manifest

BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci")
"""Object stores: a mistyped bucket is an error, and must not be created."""


def is_url(cache: Path | str) -> bool:
    """Whether a cache is a URL, not a local folder."""
    return isinstance(cache, str) and "://" in cache


def open_shelf(cache: Path | str, part: str) -> FolderStore:
    """Open a part of a cache.

    Raises:
        BadInputError: the package for this kind of file system is missing.
    """
    if is_url(cache):
        return UrlFolderStore(str(cache), part)
    return LocalFolderStore(Path(cache), part)


class UrlFolderStore(FolderStore):
    """Folders under a URL. The locks hold between the processes of one user on one machine."""

    def __init__(self, url: str, part: str) -> None:
        url = url.rstrip("/")
        key = hashlib.sha256(url.encode()).hexdigest()[:16]
        locks = Path.home() / ".cache" / "ssbench" / "locks" / key / part
        super().__init__(f"{url}/{part}", locks)
        self.files, self.root = _connect(self.place)

    def prepare(self) -> None:
        """See `FolderStore`. Unfinished uploads stay: they may be another machine's."""
        with _reached(self.place):
            probe = f"{self.root}/unfinished-{uuid.uuid4().hex}"
            self._make_folder(self.root)
            self.files.pipe_file(probe, b"ssbench")
            self.files.rm_file(probe)
        sweep(self.locks)

    def has(self, name: str) -> bool:
        """See `FolderStore`."""
        with _reached(self.place):
            self.files.invalidate_cache()  # another machine may have written it meanwhile
            return bool(self.files.exists(f"{self.root}/{valid(name)}/{MANIFEST}"))

    def names(self) -> set[str]:
        """See `FolderStore`."""
        with _reached(self.place):
            self.files.invalidate_cache()
            paths = self.files.glob(f"{self.root}/*/{MANIFEST}")
        return {str(path).split("/")[-2] for path in paths}

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """See `FolderStore`."""
        with tempfile.TemporaryDirectory(prefix="ssbench-") as folder:
            yield Path(folder)

    def put(self, name: str, files: Path) -> None:
        """See `FolderStore`; with several writers the first one usually wins."""
        inside = uuid.uuid4().hex
        folder = f"{self.root}/{valid(name)}"
        manifest = Manifest.of(files, inside)
        with _reached(self.place):
            self._make_folder(f"{folder}/{inside}")
            for path in files.iterdir():
                self.files.put_file(str(path), f"{folder}/{inside}/{path.name}")
            if self.has(name):
                self.files.rm(f"{folder}/{inside}", recursive=True)
            else:
                content = manifest.model_dump_json().encode()
                self.files.pipe_file(f"{folder}/{MANIFEST}", content)

    def _make_folder(self, path: str) -> None:
        """Make a folder, except in an object store, where it would make the bucket."""
        if self.place.partition("://")[0] not in BUCKETS:
            self.files.makedirs(path, exist_ok=True)

    def remove(self, name: str) -> None:
        """See `FolderStore`; removes the manifest first, so that no half folder is ever visible."""
        folder = f"{self.root}/{valid(name)}"
        with _reached(self.place):
            for path, whole in ((f"{folder}/{MANIFEST}", False), (folder, True)):
                if self.files.exists(path):
                    self.files.rm(path, recursive=whole)

    def manifest(self, name: str) -> Manifest | None:
        """See `FolderStore`."""
        place = f"{self.place}/{valid(name)}"
        try:
            with _reached(self.place, FileNotFoundError):
                content = self.files.cat_file(f"{self.root}/{name}/{MANIFEST}")
        except FileNotFoundError as error:
            raise DamagedError(place, "no longer there", REMEDY) from error
        return Manifest.parse(content, place)

    def content(self, name: str, file: str) -> bytes:
        """See `FolderStore`."""
        with _reached(self.place, FileNotFoundError):
            content: bytes = self.files.cat_file(f"{self.root}/{valid(name)}/{file}")
        return content


_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""By the kind of address, the extra of pyproject.toml that it needs."""


def _connect(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(url.partition("://")[0])
        remedy = install(extra) if extra else "install what this kind of address needs"
        raise BadInputError(f"--cache {url}: {error}; {remedy}, or name a folder") from error
    return files, str(root)


@contextmanager
def _reached(place: str, *passing: type[Exception]) -> Iterator[None]:
    """Turn a store's own exceptions into one message.

    Every kind of store has its own exceptions, which share no base but `Exception`; those in
    ``passing`` are raised unchanged.

    Raises:
        BadInputError: quotes the store.
    """
    untouched: tuple[type[Exception], ...] = (BadInputError, *passing)
    try:
        yield
    except untouched:
        raise
    except Exception as error:
        raise BadInputError(
            f"{place}: {type(error).__name__}: {error}; see to the address, the credentials and "
            "the network, and start again: what is finished is kept"
        ) from error
