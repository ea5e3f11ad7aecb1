"""Stage checkpoints: what is there is complete and verified.

    <cache>/stages/<id>/model.safetensors, record.json, manifest.json   one folder per stage
    <results>/<experiment>/experiment.json, <run id>.jsonl              one file per finished run

Files are written whole or not at all, with checksums; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from ssbench.errors import DamagedError
from ssbench.storage.files import unwritable
from ssbench.storage.manifest import REMEDY
from ssbench.storage.results import Record
from ssbench.storage.url_folders import open_shelf

MODEL, RECORD = "model.safetensors", "record.json"


class CheckpointStore:
    """The finished stages of all experiments by id, or another such part of the cache.

    Args:
        cache: a folder, or the URL of one that fsspec can reach.
        part: of the cache.
    """

    def __init__(self, cache: Path | str, part: str = "stages") -> None:
        self._cache = cache
        self.shelf = open_shelf(cache, part)

    def part(self, name: str) -> CheckpointStore:
        """Return another part of the same cache."""
        return CheckpointStore(self._cache, name)

    @property
    def place(self) -> str:
        """Its location, for messages."""
        return self.shelf.place

    def prepare(self) -> None:
        """Make the folder, and remove what dead processes left in it.

        Raises:
            BadInputError: it cannot be written.
        """
        self.shelf.prepare()

    def lock(self, stage: str) -> AbstractContextManager[None]:
        """Lock a stage, so that only this process works at it. A crash frees the lock.

        Raises:
            BusyError: another process works at it.
        """
        return self.shelf.lock(stage)

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return self.shelf.has(stage)

    def finished(self) -> set[str]:
        """Return the ids of all finished stages, in one listing."""
        return self.shelf.names()

    def record(self, stage: str) -> Record:
        """Read the measurements of a finished stage.

        Raises:
            DamagedError: they were altered, or the stage is not there.
        """
        try:
            record = json.loads(self.shelf.read(stage, RECORD))
            if not isinstance(record, dict):
                raise ValueError("no JSON object")
        except (ValueError, RecursionError) as error:  # older than checksums
            raise self._damaged(stage, RECORD, error) from error
        return record

    def tensors(self, stage: str) -> dict[str, Tensor]:
        """Load the tensors of a finished stage onto the CPU.

        Raises:
            DamagedError: they were altered, or the stage is not there.
        """
        try:
            return load(self.shelf.read(stage, MODEL))
        except SafetensorError as error:
            raise self._damaged(stage, MODEL, error) from error

    def _damaged(self, stage: str, file: str, error: Exception) -> DamagedError:
        return DamagedError(f"{self.place}/{stage}/{file}", f"damaged ({error})", REMEDY)

    def check(self, stage: str) -> None:
        """Verify a finished stage.

        Raises:
            DamagedError: it was altered.
        """
        self.record(stage)
        self.tensors(stage)

    def remove(self, stage: str) -> None:
        """Remove a stage, if it is there."""
        self.shelf.remove(stage)

    def save(self, stage: str, tensors: Mapping[str, Tensor], record: Record) -> None:
        """Write a stage whole or not at all; with several writers the first one wins.

        Raises:
            BadInputError: the disk is full, or cannot be written.
        """
        kept = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        for more in (2, 1, 0):
            try:
                with self.shelf.workspace() as folder:
                    save_file(kept, folder / MODEL)
                    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
                    self.shelf.put(stage, folder)
                return
            except (OSError, SafetensorError) as error:
                cause = _cause(error)
                removed = isinstance(cause, FileNotFoundError)  # someone removed the cache just now
                if not removed or not more:
                    raise unwritable(self.place, cause) from error


def _cause(error: Exception) -> OSError:
    """Return the system's error, which safetensors only quotes: '… (os error 28)'."""
    if isinstance(error, OSError):
        return error
    number = str(error).rpartition("(os error ")[2].split(")")[0]
    if number.isdecimal():
        return OSError(int(number), os.strerror(int(number)))
    return OSError(str(error))
