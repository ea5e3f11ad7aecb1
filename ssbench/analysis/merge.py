"""Merge several folders of results into one report, without mixing incomparable rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssbench.analysis import wording
from ssbench.analysis.images import told_apart
from ssbench.storage.manifest_of_results import flat, manifest
from ssbench.storage.records import RunRecords, read_runs
from ssbench.storage.schema import Record

Key = tuple[str, str]
"""Data set and model of a table."""


@dataclass(frozen=True)
class Conditions:
    """What all rows of one table must share, from the runs of one folder.

    Attributes:
        epochs: in total, of most runs (the scratch controls differ by design).
        images: for training, validation and testing.
        dense: params, connections and MACs of the dense network: other counts of the same network
            mean another counting convention.
        start: the initial weights of the trainings.
        prepared: preprocessing of photographs; empty: no photographs, or an older record.
    """

    epochs: int | None
    images: tuple[int | None, ...]
    dense: tuple[int | None, ...]
    start: str
    prepared: str = ""

    def unlike(self, other: Conditions) -> list[str]:
        """Return the differences, one text each: 'total epochs (30, 20)'."""
        facts = (
            ("total epochs", "epochs"),
            ("images to train / validate / test", "images"),
            ("dense params / connections / MACs", "dense"),
            ("initial weights", "start"),
            ("preprocessing", "prepared"),
        )
        return [
            f"{what} ({_text(getattr(self, key))}; {_text(getattr(other, key))})"
            for what, key in facts
            if getattr(self, key) != getattr(other, key)
            and (key != "prepared" or (self.prepared or _OLDER) != (other.prepared or _OLDER))
        ]


@dataclass(frozen=True)
class Part:
    """Runs of one table, from one or several folders."""

    folders: tuple[str, ...]
    conditions: Conditions
    runs: tuple[RunRecords, ...]


@dataclass(frozen=True)
class Merged:
    """The runs of several folders.

    Attributes:
        runs: all runs.
        parts: by (data set, model), the runs of each table; a second part exists if folders cannot
            be compared.
        warnings: differences between the folders, and the runs separated because of them.
    """

    runs: tuple[RunRecords, ...]
    parts: dict[Key, tuple[Part, ...]]
    warnings: tuple[str, ...]


def merge(folders: Sequence[Path]) -> Merged:
    """Read several experiments' folders, at least one.

    Raises:
        BadInputError: a folder has no records, or a line is not a record.
    """
    parts: dict[Key, list[Part]] = defaultdict(list)
    read = [(number, run) for number, path in enumerate(folders) for run in read_runs(path)]
    runs = told_apart(run for _, run in read)
    for number, name in enumerate(_names(folders)):
        found = [run for (origin, _), run in zip(read, runs, strict=True) if origin == number]
        by_table: dict[Key, list[RunRecords]] = defaultdict(list)
        for run in found:
            by_table[run.final.dataset, run.final.model].append(run)
        for key, group in by_table.items():
            _add(parts[key], Part((name,), conditions([r.final for r in group]), tuple(group)))
    return Merged(
        tuple(runs),
        {key: tuple(found) for key, found in parts.items()},
        (*_apart(parts), *_recipes(folders)),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, or their whole paths if two names are equal."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def conditions(records: Sequence[Record]) -> Conditions:
    """Return the conditions of most of some records, at least one."""

    def most(values: Sequence[object]) -> object:
        # Failed runs have no measurements; they do not count.
        found = Counter(v for v in values if v is not None and v != (None, None, None))
        return found.most_common(1)[0][0] if found else None

    epochs = most([r.epochs_total for r in records])
    images = most([(r.train_images, r.validation_images, r.test_images) for r in records])
    dense = most([(r.params_dense, r.connections_dense, r.macs_dense) for r in records])
    return Conditions(
        epochs if isinstance(epochs, int) else None,
        images if isinstance(images, tuple) else (),
        dense if isinstance(dense, tuple) else (),
        str(most([r.start for r in records]) or "random"),
        str(most([_prepared(r) for r in records]) or ""),
    )


def _prepared(record: Record) -> str | None:
    found = record.preprocessing
    if not found:
        return None
    resize = " x ".join(str(side) for side in found.get("resize", ()))
    scale = [
        " / ".join(f"{value:.3g}" for value in getattr(record, key, None) or ())
        for key in ("mean", "sd")
    ]
    return (
        f"resized to {resize}, cut to {found.get('crop')}, {found.get('interpolation')}, "
        f"mean {scale[0]}, sd {scale[1]}"
    )


_OLDER = "resized to 256, cut to 224, bilinear, mean 124 / 116 / 104, sd 58.4 / 57.1 / 57.4"
"""The preprocessing of all photographs before records had it."""


def _add(parts: list[Part], new: Part) -> None:
    """Add a folder's runs to comparable ones, or as a part of their own."""
    for position, part in enumerate(parts):
        if not part.conditions.unlike(new.conditions):
            together = Part(part.folders + new.folders, part.conditions, part.runs + new.runs)
            parts[position] = together
            return
    parts.append(new)


def _apart(parts: dict[Key, list[Part]]) -> list[str]:
    found = []
    for (dataset, model), group in parts.items():
        for other in group[1:]:
            first = group[0]
            names = (wording.listing(list(part.folders)) for part in (first, other))
            why = "; ".join(first.conditions.unlike(other.conditions))
            found.append(
                f"{model} on {dataset}: {' and '.join(names)} are in separate tables, as their "
                f"rows cannot be compared: {why}."
            )
    return found


def _recipes(folders: Sequence[Path]) -> list[str]:
    """Return differences of the folders' recipes: rows stay together, but readers must know."""
    known = [(folder, flat(manifest(folder))) for folder in folders]
    known = [(folder, found) for folder, found in known if found]
    compared = {"name", "dataset", "start", "data"}
    keys = sorted({key for _, found in known for key in found} - compared)
    different = [
        f"{key} ({', '.join(str(found.get(key)) for _, found in known)})"
        for key in keys
        if len({str(found.get(key)) for _, found in known}) > 1
    ]
    if not different:
        return []
    names = wording.listing([folder.resolve().name for folder, _ in known])
    return [f"The recipes of {names} differ in {'; '.join(different)}."]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " / ".join(str(part) for part in value)
    return str(value)
