"""Stage checkpoints and result records: what is there is complete.

    <cache>/stages/<id>/model.safetensors, record.json      one folder per finished stage
    <results>/<experiment>/experiment.json, <run id>.jsonl   one file per finished run

Everything is written under a temporary name, synced and renamed; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssbench.errors import BadInputError
from ssbench.files import make_folder, sync, write

Record = dict[str, Any]


class Store:
    """The finished stages of all experiments, by id; or another part of the cache of that kind."""

    def __init__(self, cache: Path, part: str = "stages") -> None:
        self.folder = cache / part

    def prepare(self) -> None:
        """Make the folder, and remove what processes that are no longer alive left in it.

        Raises:
            BadInputError: it cannot be written.
        """
        make_folder(self.folder, "--cache")
        for folder in self.folder.glob("unfinished-*"):
            process = folder.name.split("-")[1]
            if not Path(f"/proc/{process}").exists():
                shutil.rmtree(folder, ignore_errors=True)

    def has(self, stage: str) -> bool:
        """Whether a stage is finished."""
        return (self.folder / stage).is_dir()

    def record(self, stage: str) -> Record:
        """Read the measurements of a finished stage."""
        record: Record = json.loads((self.folder / stage / "record.json").read_text())
        return record

    def tensors(self, stage: str) -> dict[str, Tensor]:
        """Load the tensors of a finished stage onto the CPU.

        Raises:
            BadInputError: the file was damaged after it was written.
        """
        path = self.folder / stage / "model.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise BadInputError(
                f"{path}: damaged ({error}); delete the folder {path.parent} and start again"
            ) from error

    def remove(self, stage: str) -> None:
        """Remove a stage; one that is not there is no error."""
        shutil.rmtree(self.folder / stage, ignore_errors=True)

    def save(self, stage: str, tensors: Mapping[str, Tensor], record: Record) -> None:
        """Write a stage in whole or not at all."""
        folder = Path(tempfile.mkdtemp(prefix=f"unfinished-{os.getpid()}-", dir=self.folder))
        try:
            model = folder / "model.safetensors"
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, model)
            (folder / "record.json").write_text(json.dumps(record))
            for path in (model, folder / "record.json", folder):
                sync(path)
            with contextlib.suppress(FileExistsError, OSError):
                folder.rename(self.folder / stage)
            if not self.has(stage):
                raise BadInputError(f"{self.folder}: cannot be written; choose another --cache")
            sync(self.folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Results:
    """The records of one experiment's runs."""

    def __init__(
        self, results: Path, manifest: Mapping[str, Any], command: Sequence[str] = ()
    ) -> None:
        """Name a folder of records.

        Args:
            results: where the folders of all experiments lie.
            manifest: what all records of the folder have in common.
            command: the arguments of the command line that results depend on, for the records of
                the runs that are carried out now.
        """
        self.folder = results / str(manifest["name"])
        self.manifest = dict(manifest)
        self.command = list(command)

    def check(self) -> None:
        """Refuse a folder that holds another experiment, or none that can be written.

        Raises:
            BadInputError: with what differs and the remedy.
        """
        path = self.folder / "experiment.json"
        if path.exists():
            found = json.loads(path.read_text())
            different = differences(found, self.manifest)
            if different:
                raise BadInputError(
                    f"{self.folder} holds the results of another experiment "
                    f"({'; '.join(different)}); give this one another --set name=… or --results"
                )
        elif self.folder.exists() and any(self.folder.glob("*.jsonl")):
            raise BadInputError(
                f"{self.folder} holds records but no experiment.json, so they may belong to "
                "another experiment; choose another --results"
            )

    def open(self) -> None:
        """Write down which experiment the folder belongs to."""
        path = self.folder / "experiment.json"
        if not path.exists():
            write(path, json.dumps(self.manifest, indent=1, sort_keys=True) + "\n")

    def last(self, run: str) -> Record | None:
        """Read the last record of a run, which is its result; None where there is no file."""
        path = self.folder / f"{run}.jsonl"
        if not path.exists():
            return None
        try:
            record: Record = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        except (json.JSONDecodeError, IndexError) as error:
            raise BadInputError(f"{path}: not a record ({error}); remove the file") from error
        return record

    def forget_failed(self, runs: Iterable[str]) -> None:
        """Remove the records of those runs that failed, so that they are tried again."""
        for run in runs:
            last = self.last(run)
            if last and last["status"] == "failed":
                (self.folder / f"{run}.jsonl").unlink()

    def save(self, run: str, records: list[Record]) -> None:
        """Write a run's records, one line per stage."""
        told = {"command": self.command} if self.command else {}
        lines = [json.dumps(record | told, sort_keys=True) for record in records]
        write(self.folder / f"{run}.jsonl", "\n".join(lines) + "\n")


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Say, key path by key path, in what two manifests differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        deeper = [
            differences(found.get(key), wanted.get(key), f"{path}.{key}".lstrip("."))
            for key in keys
        ]
        return [line for lines in deeper for line in lines]
    # A setting that an older version did not have was not in use there.
    same = found == wanted or (found is None and not wanted)
    return [] if same else [f"{path}: {found!r} there, {wanted!r} here"]


__all__ = ["Record", "Results", "Store", "make_folder", "sync", "write"]
