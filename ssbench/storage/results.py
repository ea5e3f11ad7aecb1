"""The records of one experiment: one file for each run, written once.

<results>/<experiment>/experiment.json       what all records share
<results>/<experiment>/<run id>.jsonl        one line per stage
<results>/<experiment>/<run id>.jsonl.damaged, .other-version    set aside, never read
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError, DamagedError, few
from ssbench.storage import files
from ssbench.storage.files import create, entries, unwritable, write
from ssbench.storage.jsonl import dump, last_line, read_manifest
from ssbench.storage.records import read_file

Record = dict[str, Any]


class Results:
    """The records of one experiment's runs.

    Args:
        results: the folder of all experiments.
        manifest: what all records of this experiment share.
        command: the command-line arguments that results depend on, for new records.

    Attributes:
        tell: called once with one line for every damaged file.
    """

    def __init__(
        self, results: Path, manifest: Mapping[str, Any], command: Sequence[str] = ()
    ) -> None:
        self.folder = results / str(manifest["name"])
        self.manifest = dict(manifest)
        self._told = {"command": list(command)} if command else {}
        self.tell: Callable[[str], None] = lambda _: None
        self._warned: set[str] = set()
        self._seen: set[str] | None = None
        self._failures: dict[str, Record] = {}

    def check(self) -> None:
        """Refuse a folder that holds another experiment or cannot be written.

        Raises:
            BadInputError: names the difference and the remedy.
        """
        path = self.folder / "experiment.json"
        if path.exists():
            found = read_manifest(path)
            there, here = found.pop("data", None) or self._measured_on(), self.manifest.get("data")
            different = differences(found, {**self.manifest, "data": None})
            if different:
                raise BadInputError(
                    f"{self.folder} holds the results of another experiment "
                    f"({'; '.join(different)}); give this one another --set name=… or --results"
                )
            if there and here and there != here:
                raise BadInputError(
                    f"{self.folder} holds results measured on other images of "
                    f"{self.manifest['dataset']} (fingerprint {there} there, {here} here); put the "
                    "images and the table [data] back, or give this experiment another "
                    "--set name=… or --results"
                )
        elif self.folder.exists() and any(self.folder.glob("*.jsonl")):
            raise BadInputError(
                f"{self.folder} holds records but no experiment.json, so they may belong to "
                "another experiment; choose another --results"
            )

    def _measured_on(self) -> str | None:
        """The fingerprint of the images of the first record that has one."""
        records = (self.last(run) for run in sorted(self.finished()))
        prints = (record.get("data_fingerprint") for record in records if record)
        return next(filter(None, prints), None)

    def open(self) -> None:
        """Write which experiment the folder belongs to, and remove half-written files.

        Raises:
            BadInputError: it cannot be written, or another experiment took it meanwhile.
        """
        files.sweep(self.folder, ".")
        text = json.dumps(self.manifest, indent=1, sort_keys=True) + "\n"
        if not create(self.folder / "experiment.json", text):
            self.check()

    def has(self, run: str) -> bool:
        """Whether a run has a file, whatever its content."""
        return self._path(run).exists()

    def finished(self) -> set[str]:
        """Return the ids of all runs that have a file, in one listing."""
        return {name.removesuffix(".jsonl") for name in entries(self.folder)}

    def last(self, run: str) -> Record | None:
        """Read the last record of a run, its result; None if there is no usable one.

        Reports a file that is damaged or of another version, and treats it as missing.
        """
        if not self.has(run):
            return None
        try:
            return last_line(self._path(run)) or read_file(self._path(run))[-1][0]
        except DamagedError as error:
            if error.told not in self._warned:
                self.tell(f"{error.told}; computed again")
            self._warned.add(error.told)
            return None

    def watch(self) -> None:
        """Start to watch for failures that other processes record: see `failure`."""
        self._seen, self._failures = self.finished(), {}

    def failure(self, stage: str) -> Record | None:
        """Return the failure of a stage that another process recorded since `watch`, or None."""
        if self._seen is None:
            return None
        new = self.finished() - self._seen
        self._seen |= new
        for last in filter(None, map(self.last, sorted(new))):
            if last["status"] == "failed" and last.get("stage_id"):
                self._failures[last["stage_id"]] = last
        return self._failures.get(stage)

    def forget_failed(self, runs: Iterable[str]) -> None:
        """Remove the records of failed runs, so that they run again."""
        for run in runs:
            last = self.last(run)
            if last and last["status"] == "failed":
                self._path(run).unlink(missing_ok=True)

    def save(self, run: str, records: list[Record]) -> None:
        """Write a run's records, one line per stage, unless another process did.

        Keeps a damaged file under a name that says so.

        Raises:
            BadInputError: the disk is full, or cannot be written.
        """
        path = self._path(run)
        text = dump([record | self._told for record in records])
        if not self.folder.is_dir():  # someone removed it while the stages ran
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(self.folder, error) from error
            self.open()
        if create(path, text):
            if self._seen is not None:
                self._seen.add(run)
            return
        try:
            read_file(path)
        except DamagedError as error:
            _set_aside(path, error.fault)
            write(path, text)

    def _path(self, run: str) -> Path:
        return self.folder / f"{run}.jsonl"


def _set_aside(path: Path, fault: str) -> None:
    """Set a file aside under a second name; the first stays taken until new content replaces it."""
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.{fault}" + (f"-{number}" if number > 1 else ""))
        try:
            aside.hardlink_to(path)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            with suppress(OSError):
                path.rename(aside)
        return


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """List the key paths in which two manifests differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        deeper = [
            differences(found.get(key), wanted.get(key), f"{path}.{key}".lstrip("."))
            for key in keys
        ]
        return [line for lines in deeper for line in lines]
    # An older version did not use a setting that it lacks.
    same = found == wanted or (found is None and not wanted)
    return [] if same else [f"{path}: {found!r} there, {wanted!r} here"]


def find_run(run_id: str, results: Path) -> list[Record]:
    """Return the records of a run, given by its id or a part of it.

    A run with a floor in every layer has a twin without one, whose id differs in the hash alone: a
    part of the id means the run with the floor, which competes.

    Raises:
        BadInputError: none or several runs match, or its file is damaged.
    """
    paths = sorted(results.glob("*.jsonl")) + sorted(results.glob("*/*.jsonl"))
    exact = [path for path in paths if path.stem == run_id]
    matching = exact or [path for path in paths if run_id in path.stem]
    if not matching:
        raise BadInputError(f"{run_id}: no run of this id under {results}; choose --results")
    # Experiments that share a run each hold the same record of it.
    if len({path.stem for path in matching}) > 1:
        matching = _competing(matching) or matching
    if len({path.stem for path in matching}) > 1:
        names = few(sorted({path.stem for path in matching}), "\n  ")
        raise BadInputError(f"{run_id}: {len(matching)} runs match; say more of the id:\n  {names}")
    return [raw for raw, _ in read_file(matching[0])]


def _competing(paths: list[Path]) -> list[Path]:
    """Return the runs with a floor, if the ids of all differ in nothing but the hash."""
    if len({path.stem.rpartition("-")[0] for path in paths}) > 1:
        return []
    return [path for path in paths if read_file(path)[-1][1].protection]
