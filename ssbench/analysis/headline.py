"""The report in two sentences: which row has the lowest error where, by how much, and how sure.

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
"""Number of wins to name, those by most points first; the others are counted."""


@dataclass(frozen=True)
class Lead:
    """The row of one budget with the lowest mean test error, against all that compete with it.

    Attributes:
        where: the budget, with network and data set if a report has several.
        first: the row; ``error`` is its mean test error in percent.
        second: the row with the next lowest mean.
        interval: second - first in points of test error; None under `stats.FEW` seeds.
        wins: whether the whole interval of the difference to every other row, each judged alone,
            is above 0.
        steady: whether it is lower than each of them at least at every seed, by more than the
            sampling error of the test images.
        open: the rows whose interval does not separate them from it.
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
        """Return the lead as a part of a sentence."""
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
    """The main result of the numbers.

    Attributes:
        leads: one per budget at which rows compete.
        out: the number of rows that do not compete as they collapsed or missed their budget.
    """

    leads: tuple[Lead, ...]
    out: int = 0

    @property
    def wins(self) -> list[Lead]:
        """The leads that hold against every other row, largest margin first."""
        return sorted((lead for lead in self.leads if lead.wins), key=_margin, reverse=True)

    @property
    def sentences(self) -> tuple[str, str]:
        """Which row wins where and by how much; how sure that is."""
        if not self.leads:
            return (
                f"No two rows compete at one budget{self._without()}, so none is better than "
                "another.",
                "The tables show what each row reached, not which one is better.",
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
                f"At {lead.where}, the one budget, no row's test error is clearly lower than every "
                f"other's; the lowest mean is that of {lead.first} ({lead.error:.2f} %)."
            )
        lowest = Counter(lead.first for lead in self.leads)
        named = [f"{name} ({times})" for name, times in lowest.most_common(SHOWN)]
        named += [f"{len(lowest) - SHOWN} more"] if len(lowest) > SHOWN else []
        return (
            f"At none of {len(self.leads)} budgets is one row's test error clearly lower than "
            "every other's; the rows with the lowest mean, and at how many budgets: "
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
        """Return how many rows do not compete, as a part of a sentence."""
        plural = "" if self.out == 1 else "s"
        words = f"; without {self.out} row{plural} that collapsed or missed the budget"
        return words if self.out else ""

    def _rule(self) -> str:
        """Return the rule that judged the leads, and the number of seeds."""
        few = min(lead.seeds for lead in self.leads)
        most = max(lead.seeds for lead in self.leads)
        if few < stats.FEW:
            shared = "no seed" if few == 0 else f"only {few} seed{'' if few == 1 else 's'}"
            return f"some rows share {shared}, and an interval needs {stats.FEW}"
        seeds = f"{few}" if few == most else f"{few} to {most}"
        return f"by the {stats.rule(few)} of the difference over {seeds} seeds"


def _margin(lead: Lead) -> float:
    return lead.interval.mean if lead.interval else 0.0


def headline(tables: Sequence[tuple[str, Sequence[Row]]]) -> Headline:
    """Find the leading row at each budget of each table, and whether its lead holds.

    Args:
        tables: title and rows of each; rows of different tables are not compared, and rows that do
            not compete (`ssbench.analysis.rows.rivals`) do not count.
    """
    leads, out = [], 0
    for title, rows in tables:
        place = f" ({title})" if len(tables) > 1 else ""
        for budget, group in by_budget(rows).items():
            competing = rivals(group)
            out += _left_out(group)
            if competing:
                leads.append(_lead(competing, f"{wording.asked(*budget)}{place}"))
    return Headline(tuple(leads), out)


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
