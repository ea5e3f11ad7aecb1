"""Find which cells of an experiment lack results; means never skip them silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import wording
from ssbench.analysis.rows import Row, missing_seeds, usual_seeds


@dataclass(frozen=True)
class Gap:
    """A row that lacks seeds of the other rows of its table."""

    budget: str
    name: str
    done: int
    missing: tuple[int, ...]

    def __str__(self) -> str:
        """Return the gap in one line."""
        seeds = wording.listing([str(seed) for seed in self.missing])
        plural = "" if len(self.missing) == 1 else "s"
        return f"{self.name} at {self.budget}: {self.done} done, no result for seed{plural} {seeds}"


@dataclass(frozen=True)
class Coverage:
    """How many runs of a full table have results, and which rows are incomplete.

    Attributes:
        further: number of results for seeds that few rows have, run to separate two rows.
    """

    done: int
    expected: int
    further: int
    gaps: tuple[Gap, ...]

    def __str__(self) -> str:
        """Return the coverage in one line."""
        whole = "" if self.gaps else " (every row with every seed)"
        further = f", and {self.further} more of extra seeds" if self.further else ""
        return f"{self.done} of {self.expected} runs have a result{whole}{further}"


def coverage(rows: Sequence[Row]) -> Coverage:
    """Compare the seeds of each row of a (data set, model) with those of its whole experiment."""
    usual = usual_seeds(rows)
    gaps, done, expected, further = [], 0, 0, 0
    for row in rows:
        lacking = missing_seeds(row, usual)
        have = sum(run.final.seed in usual[run.final.experiment] for run in row.done)
        done, expected = done + have, expected + have + len(lacking)
        further += len(row.done) - have
        if lacking:
            missing = tuple(sorted(lacking))
            gaps.append(Gap(wording.asked(*row.budget), row.name, len(row.done), missing))
    return Coverage(done, expected, further, tuple(gaps))
