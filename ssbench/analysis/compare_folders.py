"""Compare two folders of results: what changed, and whether it is more than noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssbench.analysis import stats, wording
from ssbench.analysis.find_row import title
from ssbench.analysis.grouping import UNPROTECTED
from ssbench.analysis.images import shown
from ssbench.analysis.notes import devices, versions
from ssbench.analysis.rows import Row
from ssbench.storage.manifest_of_results import flat, manifest
from ssbench.storage.schema import Record

Change = Literal["same", "within noise", "beyond noise", "no interval"]
_SIZES = ("params_nonzero", "connections_nonzero", "macs_nonzero", "bytes_sparse", "epochs_total")
"""The measures of a row's size and cost."""
_WORTH = 0.01
"""Changes of a size by a smaller share are not reported."""


@dataclass(frozen=True)
class Changed:
    """A row of both folders.

    Attributes:
        interval: of the second's error less the first's, by seed; None for fewer than
            `ssbench.analysis.stats.FEW` shared seeds.
        sizes: the counts that differ by more than 1 %, as text.
    """

    name: str
    kind: Change
    interval: stats.Interval | None
    seeds: int
    sizes: tuple[str, ...]

    def __str__(self) -> str:
        """Return the change in one line."""
        words: str = self.kind
        if self.kind == "no interval":
            words = f"no interval ({self.seeds} shared seeds, an interval needs {stats.FEW})"
        elif self.interval is not None and self.kind != "same":
            low, high = self.interval.low, self.interval.high
            words += f": error {self.interval.mean:+z.2f} points ({low:+z.2f} to {high:+z.2f})"
        return f"{self.name}: {'; '.join([words, *self.sizes])}"


@dataclass(frozen=True)
class Changes:
    """The changes from the first folder to the second."""

    conditions: tuple[str, ...]
    rows: tuple[Changed, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def summary(self) -> str:
        """Count the rows by kind of change, and say how many chance alone would give."""
        count = {kind: sum(row.kind == kind for row in self.rows) for kind in _ORDER}
        judged = count["within noise"] + count["beyond noise"]
        listed = ", ".join(f"{number} {kind}" for kind, number in count.items() if number)
        chance = (
            f"; of {judged} rows without a real change, chance alone would put about "
            f"{(1 - stats.LEVEL) * judged:.1f} beyond noise"
        )
        return f"{len(self.rows)} rows in both: {listed or 'none'}{chance if judged else ''}"


_ORDER: tuple[Change, ...] = ("same", "within noise", "beyond noise", "no interval")


def changes(first: Sequence[Row], second: Sequence[Row], folders: tuple[Path, Path]) -> Changes:
    """Compare the rows of two folders.

    Args:
        first: rows of one folder; those without a result do not count.
        second: rows of the other.
        folders: their ``experiment.json`` may tell how the rows were trained.
    """
    one, two = ({_key(row): row for row in rows if row.done} for rows in (first, second))
    return Changes(
        tuple(_conditions(first, second, folders)),
        tuple(_changed(one[key], two[key]) for key in one if key in two),
        tuple(_full_title(row) for key, row in one.items() if key not in two),
        tuple(_full_title(row) for key, row in two.items() if key not in one),
    )


def _key(row: Row) -> str:
    like = row.like
    # The name of a row without a floor says so only beside its twin with one.
    name = row.name.replace(f", {UNPROTECTED}", "")
    return json.dumps((like.dataset, like.model, name, like.protection or 0.0, *row.budget))


def _full_title(row: Row) -> str:
    return f"{row.like.model} on {row.like.dataset}, {title(row)}"


def _changed(first: Row, second: Row) -> Changed:
    errors = [row.values("test_top1_error") for row in (first, second)]
    shared = len(errors[0].keys() & errors[1].keys())
    sizes = tuple(wording for key in _SIZES if (wording := _size(key, first, second)))
    if errors[0] == errors[1]:
        return Changed(_full_title(first), "same", None, shared, sizes)
    resolution = max(first.resolution, second.resolution)
    interval = stats.difference(errors[1], errors[0], resolution) if shared >= stats.FEW else None
    if interval is None:
        return Changed(_full_title(first), "no interval", None, shared, sizes)
    kind: Change = "within noise" if interval.low <= 0 <= interval.high else "beyond noise"
    return Changed(_full_title(first), kind, interval, shared, sizes)


def _size(key: str, first: Row, second: Row) -> str | None:
    before, after = first.values(key), second.values(key)
    shared = before.keys() & after.keys()
    if not shared:
        return None
    old, new = (stats.mean(values[seed] for seed in shared) for values in (before, after))
    if abs(new - old) <= _WORTH * old:
        return None
    noun = "epochs in total" if key == "epochs_total" else key.replace("_", " ")
    return f"{noun} {wording.count(old)} -> {wording.count(new)}"


def _conditions(
    first: Sequence[Row], second: Sequence[Row], folders: tuple[Path, Path]
) -> list[str]:
    """Return differences in recipe, hardware, versions and commit."""
    records = [[run.final for row in rows for run in row.done] for rows in (first, second)]
    differences = [
        f"{what}: {' | '.join(before) or wording.ABSENT} -> {' | '.join(after) or wording.ABSENT}"
        for what, (before, after) in {
            "images": [_images(group) for group in records],
            "hardware": [devices(group) for group in records],
            "versions": [versions(group) for group in records],
            "commit": [_commits(group) for group in records],
        }.items()
        if before != after
    ]
    before, after = (flat(manifest(folder)) for folder in folders)
    return differences + [
        f"{key}: {before.get(key, wording.ABSENT)} -> {after.get(key, wording.ABSENT)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key != "data"
    ]


def _images(records: Sequence[Record]) -> list[str]:
    return sorted({f"{record.dataset} {shown(record)}" for record in records})


def _commits(records: Sequence[Record]) -> list[str]:
    return sorted({record.commit for record in records if record.commit})
