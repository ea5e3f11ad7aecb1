"""Turn runs into rows: one per (data set, model, method and settings, budget), over its seeds."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ssbench.analysis import stats
from ssbench.analysis.grouping import alike, names, plan_of
from ssbench.analysis.images import told_apart
from ssbench.storage.records import RunRecords
from ssbench.storage.schema import Record

Asked = float | Literal["own"] | None
CLOSE = 0.005
"""A budget counts as met within this share of it."""
UNFAIR = 0.05
"""A row that missed its budget by this share of it does not compete with the others."""
_ONE_SIDED = 1.645
"""Standard errors below the error of guessing that luck alone stays within in 95 of 100 cases."""


@dataclass(frozen=True)
class Spread:
    """A measurement over seeds, in its own unit; ``sd`` is None for one seed."""

    mean: float
    sd: float | None
    n: int
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Row:
    """The runs that differ only in the seed, in the order of their seeds."""

    name: str
    done: tuple[RunRecords, ...]
    failed: tuple[RunRecords, ...]

    @property
    def like(self) -> Record:
        """A record, for what all runs of the row have in common."""
        return (*self.done, *self.failed)[0].final

    @property
    def budget(self) -> tuple[Asked, str | None]:
        """The requested share and its unit; (None, None) for the dense network."""
        return self.like.budget_asked, self.like.budget_unit

    @property
    def is_dense(self) -> bool:
        """Whether the row is the unpruned network."""
        return self.like.budget_asked is None

    @property
    def resolution(self) -> float:
        """The smallest step between test errors, in percentage points."""
        images = [run.final.test_images for run in self.done if run.final.test_images]
        return 100 / min(images) if images else 0.0

    def values(self, key: str) -> dict[int, float]:
        """Return a measurement of the last stage by seed, without the runs that lack it."""
        by_seed = {run.final.seed: getattr(run.final, key) for run in self.done}
        return {seed: float(value) for seed, value in by_seed.items() if value is not None}

    def spread(self, key: str) -> Spread | None:
        """Return a measurement of the last stage over the seeds; None if no run has it."""
        return spread(self.values(key).values())

    def mean(self, key: str) -> float | None:
        """Return a measurement's mean over the seeds; None if no run has it."""
        found = self.spread(key)
        return found.mean if found else None

    def before(self, key: str) -> Spread | None:
        """Return a measurement of the pruned network before finetuning, over the seeds."""
        return spread(getattr(run.pruned, key) for run in self.done if run.pruned)

    def total(self, key: str) -> Spread | None:
        """Return a time summed over the stages of each run, over the seeds, in seconds."""
        return spread(run.total(key) for run in self.done)

    def joules(self) -> Spread | None:
        """Return the energy of each run, over the seeds; None if any is unknown."""
        energies = [run.joules for run in self.done]
        return None if None in energies else spread(energies)

    def kept(self, unit: str) -> Spread | None:
        """Return the share of the dense network's unit that is nonzero, over the seeds."""
        dense, nonzero = self.values(f"{unit}_dense"), self.values(f"{unit}_nonzero")
        return spread(nonzero[seed] / dense[seed] for seed in nonzero if dense.get(seed))

    def collapsed(self) -> int:
        """Count the seeds in which a whole layer lost all its weights."""
        return sum(any(share == 0 for share in run.final.layers.values()) for run in self.done)

    def at_chance(self) -> int:
        """Count the seeds in which the network is no better than guessing one class."""
        return sum(_guesses(run.final) for run in self.done)

    @property
    def broken(self) -> bool:
        """Whether a layer died or nothing was learnt in some seed: beating it proves nothing."""
        return self.collapsed() > 0 or self.at_chance() > 0

    @property
    def off_budget(self) -> bool:
        """Whether it missed its budget by so much that its size is not comparable."""
        return abs(self.miss() or 0) > UNFAIR

    def miss(self) -> float | None:
        """Return (reached - asked) / asked, the furthest of all seeds; None without a share."""
        asked = self.like.budget_asked
        reached = self.values("budget_reached").values()
        if asked is None or asked == "own" or not reached:
            return None
        return max(((share - asked) / asked for share in reached), key=abs)


def _guesses(final: Record) -> bool:
    """Whether a test error is no lower than that of guessing, within sampling error."""
    guess = final.test_guess_error
    if guess is None and final.classes:
        guess = 100 * (1 - 1 / final.classes)
    if guess is None or final.test_top1_error is None or not final.test_images:
        return False
    error = math.sqrt(guess * (100 - guess) / final.test_images)
    return final.test_top1_error >= guess - _ONE_SIDED * error


def spread(values: Iterable[float | None]) -> Spread | None:
    """Summarise measurements without those that are None; None if none remain."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(stats.mean(known), stats.deviation(known), len(known), min(known), max(known))


def make_rows(runs: Iterable[RunRecords]) -> tuple[list[Row], list[RunRecords]]:
    """Gather runs into rows, in the order of tables.

    Dense comes first, then shares in falling order, "own" last; within a budget random controls
    come first, then the names in alphabetical order.

    Returns:
        The rows, and the older runs that newer ones of the same row and seed replace: a changed
        method that runs again leaves both in the folder.
    """
    groups, older = alike(told_apart(runs))
    rows = [
        Row(
            name=name,
            done=tuple(run for run in group if not run.failed),
            failed=tuple(run for run in group if run.failed),
        )
        for name, group in zip(names(groups), groups, strict=True)
    ]
    return sorted(rows, key=_place), older


def _place(row: Row) -> tuple[str, str, int, float, str, bool, str]:
    asked, unit = row.budget
    rank = 0 if asked is None else 2 if asked == "own" else 1
    share = -asked if isinstance(asked, float | int) else 0.0
    like = row.like
    return (
        like.dataset, like.model, rank, share, unit or "",
        like.method != "random", row.name,
    )  # fmt: skip


def by_table(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Group rows by (data set, model), keeping their order."""
    tables: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        tables[row.like.dataset, row.like.model].append(row)
    return dict(tables)


def by_budget(rows: Iterable[Row]) -> dict[tuple[Asked, str | None], list[Row]]:
    """Group the rows of a table by budget, keeping their order."""
    groups: dict[tuple[Asked, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.budget].append(row)
    return dict(groups)


def usual_seeds(rows: Iterable[Row]) -> dict[str, set[int]]:
    """Return, by experiment, the seeds of more than half of its rows.

    Single rows may have more, run to separate two rows; these must not make others incomplete.
    """
    runs = [[run.final for run in (*row.done, *row.failed)] for row in rows]
    counts = Counter((final.experiment, final.seed) for finals in runs for final in finals)
    sizes = Counter(name for finals in runs for name in {final.experiment for final in finals})
    usual: dict[str, set[int]] = {name: set() for name in sizes}
    for (name, seed), count in counts.items():
        if 2 * count > sizes[name]:
            usual[name].add(seed)
    return usual


def missing_seeds(row: Row, usual: Mapping[str, set[int]]) -> set[int]:
    """Return the usual seeds of a row's experiment for which the row has no result."""
    runs = (*row.done, *row.failed)
    wanted = set().union(*(usual[run.final.experiment] for run in runs))
    return wanted - {run.final.seed for run in row.done}


def twins(rows: Iterable[Row]) -> dict[Row, Row]:
    """Map each row without a floor to its twin with one, if that has a result.

    The twin competes instead: all methods have the same floor.
    """
    rows = list(rows)
    floors = {plan_of(r.like, floor=False): r for r in rows if r.done and r.like.protection}
    return {
        row: floors[key]
        for row in rows
        if floors and not row.like.protection and (key := plan_of(row.like, floor=False)) in floors
    }


def repeated(rows: Iterable[Row]) -> set[Row]:
    """Return the rows without a floor whose twin has the same masks: the floor never acted."""
    keys = ("params_nonzero", "connections_nonzero", "macs_nonzero", "threshold")
    return {
        row
        for row, twin in twins(rows).items()
        if not row.failed
        and not any(twin.values("protected").values())
        and all(row.values(key) == twin.values(key) for key in keys)
    }


def printed(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that tables print: all except the `repeated` ones."""
    rows = list(rows)
    same = repeated(rows)
    return [row for row in rows if row not in same]


def differing(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without names whose rows equal their twins at every budget."""
    rows = list(rows)
    same = repeated(rows)
    names = {row.name for row in rows if row not in same}
    return [row for row in rows if row.name in names]


def standing(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that can be better or worse than others.

    They have a result, did not break down in any seed, and have no twin that competes instead.
    """
    without_floor = twins(rows)
    return [row for row in rows if row.done and row not in without_floor and not row.broken]


def rivals(group: Sequence[Row], key: str = "test_top1_error") -> Mapping[Row, dict[int, float]]:
    """Return the errors, by usual seed, of the rows of a budget that can be compared.

    Empty for fewer than two rows, the dense network and budgets "own", whose rows differ in size.
    Excludes rows that are not `standing`, or missed their budget by `UNFAIR`.

    Args:
        group: the rows of one budget.
        key: of the error.
    """
    if group[0].budget[0] in (None, "own"):
        return {}
    fair = [row for row in standing(group) if not row.off_budget]
    usual = usual_seeds(group)
    errors_of = {}
    for row in fair:
        errors = row.values(key)
        seeds = [s for r in row.done if (s := r.final.seed) in usual[r.final.experiment]]
        values = {seed: errors[seed] for seed in seeds if seed in errors}
        if values:
            errors_of[row] = values
    return errors_of if len(errors_of) > 1 else {}


def best(group: Sequence[Row], key: str = "test_top1_error") -> set[Row]:
    """Return the rows of a budget to print in bold: see `ssbench.analysis.stats.best_rows`."""
    return stats.best_rows(rivals(group, key), max(row.resolution for row in group))
