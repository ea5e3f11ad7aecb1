"""Which cells of an experiment have a result: nothing is averaged over those that have none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.report import text
from ssbench.report.rows import Row


@dataclass(frozen=True)
class Gap:
    """A row that lacks seeds which other rows of its table have."""

    budget: str
    name: str
    done: int
    missing: tuple[int, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        seeds = text.listing([str(seed) for seed in self.missing])
        plural = "" if len(self.missing) == 1 else "s"
        return f"{self.name} at {self.budget}: {self.done} seeds, no result for seed{plural} {seeds}"


@dataclass(frozen=True)
class Coverage:
    """How many of the runs that a full table has are there, and which rows are not whole."""

    done: int
    expected: int
    gaps: tuple[Gap, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        share = f"{self.done} of {self.expected} runs have a result"
        return f"{share} (every row with every seed)" if not self.gaps else share


def coverage(rows: Sequence[Row]) -> Coverage:
    """Compare the seeds of each row of a (data set, model) with those of its whole experiment."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        for run in (*row.done, *row.failed):
            seeds[run.final.experiment].add(run.final.seed)
    gaps, expected = [], 0
    for row in rows:
        have = {run.final.seed for run in row.done}
        theirs = {run.final.experiment for run in (*row.done, *row.failed)}
        wanted = set().union(*(seeds[name] for name in theirs))
        expected += len(wanted)
        if wanted - have:
            missing = tuple(sorted(wanted - have))
            gaps.append(Gap(text.asked(*row.budget), row.name, len(have), missing))
    return Coverage(sum(len(row.done) for row in rows), expected, tuple(gaps))
