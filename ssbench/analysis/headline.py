"""The report in two sentences: who errs least where and by how much, and how sure that is.

>>> headline([("vgg6 on digits", rows)]).sentences[0]
"At 1 of 5 budgets one row's test error is lower than every other's: slimming at 2 % of params ..."
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row, by_budget, rivals, twins
from ssbench.analysis.verdicts import judge

SHOWN = 3
"""So many wins are named, those by most points; the others are counted."""


@dataclass(frozen=True)
class Lead:
    """The row of one budget with the lowest mean test error, against all that compete with it.

    Attributes:
        where: the budget, with the network and data set where a report has several.
        first: the row; ``error`` is its mean test error in percent.
        second: the row with the next lowest mean.
        interval: second - first in points of test error; None under `stats.FEW` seeds.
        wins: whether the whole interval of the difference to every other row, each judged alone,
            lies above 0.
        steady: whether it is at least lower than each of them at every seed, by more than the
            sampling error of the test images.
        open: the rows that it cannot be told apart from by that interval.
        seeds: the fewest seeds that it shares with another row.
    """

    where: str
    first: str
    error: float
    second: str
    interval: stats.Interval | None
    wins: bool
    steady: bool
    open: tuple[str, ...]
    seeds: int

    def __str__(self) -> str:
        """Say it as a part of a sentence."""
        return f"{self.first} at {self.where} ({self._margin()})"

    def _margin(self) -> str:
        if self.interval is None:
            return f"next is {self.second}"
        level = f"{100 * stats.LEVEL:.0f} % interval"
        return (
            f"{self.error:.2f} %, {self.interval.mean:z.2f} points below the next, {self.second}, "
            f"{level} {self.interval.low:z.2f} to {self.interval.high:z.2f}"
        )


@dataclass(frozen=True)
class Headline:
    """What the numbers say first.

    Attributes:
        leads: one for each budget at which rows compete.
        out: the number of rows that do not, as they collapsed or missed their budget.
    """

    leads: tuple[Lead, ...]
    out: int = 0

    @property
    def wins(self) -> list[Lead]:
        """The leads that hold against every other row, by falling margin."""
        return sorted((lead for lead in self.leads if lead.wins), key=_margin, reverse=True)

    @property
    def sentences(self) -> tuple[str, str]:
        """Who wins where and by how much; how sure that is."""
        if not self.leads:
            return (
                f"No two rows compete at one budget{self._without()}, so none is better than "
                "another.",
                "The tables show what each row reached, not which of them to prefer.",
            )
        return self._who(), self._sure()

    def _who(self) -> str:
        count, wins = len(self.leads), self.wins
        if not wins:
            return self._nobody()
        share = "At the one budget" if count == 1 else f"At {len(wins)} of {count} budgets"
        named = "; ".join(str(lead) for lead in wins[:SHOWN])
        more = f"; and {len(wins) - SHOWN} more" if len(wins) > SHOWN else ""
        return f"{share} one row's test error is lower than every other's: {named}{more}."

    def _nobody(self) -> str:
        if len(self.leads) == 1:
            lead = self.leads[0]
            return (
                f"At {lead.where}, the one budget, no row's test error is lower than every other's "
                f"beyond doubt; the lowest mean is that of {lead.first} ({lead.error:.2f} %)."
            )
        lowest = Counter(lead.first for lead in self.leads)
        named = [f"{name} ({times})" for name, times in lowest.most_common(SHOWN)]
        named += [f"{len(lowest) - SHOWN} more"] if len(lowest) > SHOWN else []
        return (
            f"At none of {len(self.leads)} budgets is one row's test error lower than every "
            "other's beyond doubt; the lowest mean, and at how many of them: "
            f"{wording.listing(named)}."
        )

    def _sure(self) -> str:
        how = f"{self._rule()}; not corrected for the number of comparisons{self._without()}"
        opened = [lead for lead in self.leads if not lead.wins]
        if not opened:
            return f"Every one of these leads holds against each other row alone ({how})."
        steady = sum(lead.steady for lead in opened)
        rows = max(opened, key=lambda lead: len(lead.open))
        others = f"{len(rows.open)} other row{'' if len(rows.open) == 1 else 's'}"
        where = f"At {len(opened)} of {len(self.leads)} budgets" if len(self.leads) > 1 else "There"
        most = f"others, at {rows.where} not from {others}" if len(opened) > 1 else others
        at_least = (
            f"; at {steady} of these it is lower at every seed, but not separable"
            if steady and len(opened) > 1
            else "; it is lower at every seed, but not separable"
            if steady
            else ""
        )
        return f"{where} the lowest error cannot be told apart from {most}{at_least} ({how})."

    def _without(self) -> str:
        """How many rows are left out, as a part of a sentence."""
        plural, verb = ("", "is") if self.out == 1 else ("s", "are")
        said = f"; {self.out} row{plural} that collapsed or missed the budget {verb} left out"
        return said if self.out else ""

    def _rule(self) -> str:
        """By which rule leads were judged, over how many seeds."""
        few = min(lead.seeds for lead in self.leads)
        most = max(lead.seeds for lead in self.leads)
        if few < stats.FEW:
            shared = "no seed" if few == 0 else f"only {few} seed{'' if few == 1 else 's'}"
            return f"some rows share {shared}, and {stats.FEW} are the fewest for an interval"
        seeds = f"{few}" if few == most else f"{few} to {most}"
        return f"by the {stats.rule(few)} of the difference over {seeds} seeds"


def _margin(lead: Lead) -> float:
    return lead.interval.mean if lead.interval else 0.0


def headline(tables: Sequence[tuple[str, Sequence[Row]]]) -> Headline:
    """Find who leads at each budget of each table, and whether the lead holds.

    Args:
        tables: title and rows of each; rows of different tables are not compared, and those that
            do not compete (`ssbench.analysis.rows.rivals`) do not count.
    """
    found, out = [], 0
    for title, rows in tables:
        place = f" ({title})" if len(tables) > 1 else ""
        for budget, group in by_budget(rows).items():
            competing = rivals(group)
            out += _left_out(group)
            if competing:
                found.append(_lead(competing, f"{wording.asked(*budget)}{place}"))
    return Headline(tuple(found), out)


def _left_out(group: Sequence[Row]) -> int:
    """Count the rows of a budget that would compete if they had not collapsed or missed it."""
    without_floor = twins(group)
    able = [row for row in group if row.done and not row.is_dense and row not in without_floor]
    return sum(row.broken or row.off_budget for row in able)


def _lead(competing: Mapping[Row, Mapping[int, float]], where: str) -> Lead:
    first = stats.best_row(competing)
    assert first is not None  # rows that compete have values
    others = sorted(
        (row for row in competing if row is not first),
        key=lambda row: stats.mean(competing[row].values()),
    )
    pairs = [judge(first, other, where) for other in others]
    unsure = [pair for pair in pairs if pair.verdict.kind != "better"]
    steady = all(pair.verdict.kind in ("better", "lower at every seed") for pair in pairs)
    return Lead(
        where=where,
        first=first.name,
        error=stats.mean(competing[first].values()),
        second=others[0].name,
        interval=pairs[0].verdict.interval,
        wins=not unsure,
        steady=steady,
        open=tuple(pair.second for pair in unsure),
        seeds=min(pair.verdict.pairs for pair in pairs),
    )
