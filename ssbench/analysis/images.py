"""Tell apart data sets of one name whose images differ.

Records have the data's fingerprint; older ones lack it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ssbench.storage.records import RunRecords
from ssbench.storage.schema import Record

DIGITS = 8
"""Number of digits of a fingerprint to show."""
_APART = re.compile(r"(.*) \[images (.*)\]")


def told_apart(runs: Iterable[RunRecords]) -> list[RunRecords]:
    """Give data sets of one name but different images different names.

    Tables, ranks and claims go by the name, so different images are never compared.
    """
    listed = list(runs)
    sets: dict[str, set[str]] = defaultdict(set)
    for run in listed:
        if run.final.data_fingerprint:
            sets[run.final.dataset].add(run.final.data_fingerprint)
    several = {name for name, prints in sets.items() if len(prints) > 1}
    return [_named(run) if run.final.dataset in several else run for run in listed]


def _named(run: RunRecords) -> RunRecords:
    name = f"{run.final.dataset} [images {shown(run.final)}]"
    stages = (stage.model_copy(update={"dataset": name}) for stage in run.stages)
    return replace(run, stages=tuple(stages))


def shown(record: Record) -> str:
    """Return the first digits of the fingerprint of a record's images."""
    return record.data_fingerprint[:DIGITS] if record.data_fingerprint else "not recorded"


def same(records: Sequence[Record]) -> bool:
    """Whether the records say that all of them were measured on the same images."""
    prints = {record.data_fingerprint for record in records}
    return len(prints) == 1 and None not in prints


def warnings(datasets: Iterable[str]) -> list[str]:
    """Return a warning for each data set that `told_apart` renamed."""
    parts: dict[str, list[str]] = defaultdict(list)
    for dataset in dict.fromkeys(datasets):
        if match := _APART.fullmatch(dataset):
            parts[match[1]].append(match[2])
    return [
        f"{name}: these records were measured on different images, or on images normalised "
        f"differently (fingerprints {', '.join(prints)}); their rows are in separate tables and "
        "are not compared."
        for name, prints in parts.items()
    ]
