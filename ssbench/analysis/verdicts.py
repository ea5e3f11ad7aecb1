"""Neighbours in a ranking: is the better one better, and what would it take to know?"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row, by_budget, rivals
from ssbench.storage.records import RunRecords


@dataclass(frozen=True)
class Pair:
    """Two rows of one budget that are neighbours in the order of mean test error.

    Attributes:
        hours: the cost of the verdict's further seeds on the hardware of the records, for both
            rows, with shared stages counted once; None if no time was measured.
    """

    budget: str
    first: str
    second: str
    verdict: stats.Verdict
    hours: float | None

    def __str__(self) -> str:
        """Return the pair and its verdict in one line."""
        return f"{self.budget}: {self.first} before {self.second}: {self.said}"

    @property
    def said(self) -> str:
        """The verdict in words."""
        judged = self.verdict
        if judged.kind == "too few seeds":
            return (
                f"no interval ({judged.pairs} shared seed{'' if judged.pairs == 1 else 's'}, an "
                f"interval needs {stats.FEW})"
            )
        words: str = judged.kind
        if judged.kind == "more seeds":
            words = f"needs {self._more()}"
        elif judged.kind == "lower at every seed":
            words += ", but not separable" + (f" without {self._more()}" if judged.more else "")
        assert judged.interval is not None  # only "too few seeds" has none
        return f"{words} ({difference(judged.interval)})"

    def _more(self) -> str:
        plural = "" if self.verdict.more == 1 else "s"
        cost = "" if self.hours is None else f", about {hours(self.hours)}"
        return f"{self.verdict.more} more seed{plural}{cost}"


def difference(interval: stats.Interval) -> str:
    """Write a difference of errors with its interval."""
    level = f"{100 * stats.LEVEL:.0f} %"
    return (
        f"difference {interval.mean:z.2f} points, {level} interval {interval.low:z.2f} to "
        f"{interval.high:z.2f}"
    )


def hours(value: float) -> str:
    """Write hours with two digits, short times in minutes."""
    return f"{value:.2g} h" if value >= 1 else f"{max(1, round(60 * value))} min"


def verdicts(rows: Sequence[Row]) -> list[Pair]:
    """Judge every two neighbours at every budget of a (data set, model), from best to worst.

    Args:
        rows: of one (data set, model); only those that compete count
            (`ssbench.analysis.rows.rivals`).
    """
    found = []
    for budget, group in by_budget(rows).items():
        ordered = sorted(rivals(group), key=_error)
        found += [
            judge(first, second, wording.asked(*budget))
            for first, second in itertools.pairwise(ordered)
        ]
    return found


def judge(first: Row, second: Row, budget: str, level: float = stats.LEVEL) -> Pair:
    """Judge whether the first of two rows has a lower error than the second."""
    resolution = max(first.resolution, second.resolution)
    less, more = (row.values("test_top1_error") for row in (first, second))
    judged = stats.verdict(less, more, resolution, level)
    each = seconds_per_seed([first, second])
    cost = judged.more * each / 3600 if judged.more and each is not None else None
    return Pair(budget, first.name, second.name, judged, cost)


def _error(row: Row) -> float:
    return stats.mean(row.values("test_top1_error").values())


def seconds_per_seed(rows: Sequence[Row]) -> float | None:
    """Return the seconds of one seed of some rows: training and pruning, shared stages once.

    The mean over the seeds that all rows have; None if there are none or no time was measured.
    """
    by_seed = [{run.final.seed: run for run in row.done} for row in rows]
    shared = set.intersection(*(set(runs) for runs in by_seed))
    times = [_seconds([runs[seed] for runs in by_seed]) for seed in sorted(shared)]
    measured = [seconds for seconds in times if seconds is not None]
    return stats.mean(measured) if measured else None


def _seconds(runs: Sequence[RunRecords]) -> float | None:
    stages = {
        stage.stage_id or f"{run.final.run} {number}": stage
        for run in runs
        for number, stage in enumerate(run.stages)
    }
    times = [(stage.seconds_train, stage.seconds_prune) for stage in stages.values()]
    measured = [seconds for pair in times for seconds in pair if seconds is not None]
    return sum(measured) if measured else None


def caption(pairs: Sequence[Pair]) -> str:
    """Explain the verdicts, and which differences this number of seeds can separate."""
    parts = [
        "Neighbours in the order of mean test error, judged by the differences at each seed. "
        f"Better: the whole {100 * stats.LEVEL:.0f} % interval is above 0. Lower at every seed: "
        "the interval is not, but the second row's error is higher at every seed by more than the "
        "sampling error of the test images. Further seeds: the number that "
        f"would show a difference of this size with a probability of {100 * stats.POWER:.0f} "
        f"% (paired t test); not separable: more than {stats.AT_MOST} seeds in all.",
        f"Three seeds at a paired standard deviation of 0.2 points separate only about "
        f"{stats.detectable(0.2, 3):.2f} points, five {stats.detectable(0.2, 5):.2f}.",
    ]
    spreads = [pair.verdict.spread for pair in pairs if pair.verdict.spread is not None]
    count = max((pair.verdict.pairs for pair in pairs), default=0)
    if spreads and count >= stats.FEW:
        middle = statistics.median(spreads)
        parts.append(
            f"Here the median paired standard deviation is {middle:.2f} points, so {count} seeds "
            f"separate {stats.detectable(middle, count):.2f} points."
        )
    return " ".join(parts)
