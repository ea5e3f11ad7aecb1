"""Claims as files: sentences about an experiment, each with the comparison that decides it.

The claims that ship with ssbench are in bench/claims/.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.analysis import stats
from ssbench.analysis.find_row import find_row, title
from ssbench.analysis.rows import Row
from ssbench.errors import BadInputError, wrong
from ssbench.storage.toml import read_toml

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
Ending = Literal["supported", "contradicted", "undecided"]


class Claim(BaseModel):
    """The claim that one row's error is lower than another's, by at least ``by``.

    Attributes:
        better: a row as `ssbench.analysis.find_row` reads it; so too ``than``.
        by: in points of test error: 0 means better, 1 better by a whole point, -0.5 worse by less
            than half a point.
        model: the network, if the experiment has several.
    """

    model_config = _STRICT

    says: str = Field(min_length=1)
    better: str
    than: str
    by: float = Field(default=0.0, allow_inf_nan=False)
    model: str | None = None
    dataset: str | None = None


class ClaimsFile(BaseModel):
    """A file of claims about one experiment."""

    model_config = _STRICT

    experiment: str
    claims: list[Claim] = Field(min_length=1)


@dataclass(frozen=True)
class Settled:
    """A claim and what the records say about it.

    Attributes:
        interval: of the other row's test error less the claimed better row's, in points; None if
            there is none.
        why: the reason of the ending.
    """

    claim: Claim
    ending: Ending
    interval: stats.Interval | None
    why: str

    def __str__(self) -> str:
        """Return the claim and its ending in one line."""
        return f"{self.ending}: {self.claim.says} ({self.why})"


CAPTION = (
    f"A claim is supported if the whole {100 * stats.LEVEL:.0f} % interval of the paired "
    "difference in test error lies above the claim's margin, contradicted if all of it lies "
    "below, and undecided otherwise, also if a row collapsed or missed its budget. The "
    "claims were written together with the experiment; nothing is corrected for their number."
)


def shipped(folder: Path) -> list[Path]:
    """Return the files of claims that ship with ssbench.

    Args:
        folder: of the experiments that ship with ssbench.
    """
    return sorted((folder / "claims").glob("*.toml"))


def read(paths: Iterable[Path], experiment: str) -> list[Claim]:
    """Return the claims about an experiment.

    Raises:
        BadInputError: a file cannot be read, is not TOML, or a key or value does not fit.
    """
    claims: list[Claim] = []
    for path in paths:
        content = _read(path)
        if content.experiment == experiment:
            claims += content.claims
    return claims


def _read(path: Path) -> ClaimsFile:
    try:
        return ClaimsFile.model_validate(read_toml(path))
    except ValidationError as error:
        fields = ", ".join(Claim.model_fields)
        raise BadInputError(f"{path}: {wrong(error)}; a claim's keys: {fields}") from error


def settle(claims: Iterable[Claim], rows: Sequence[Row]) -> list[Settled]:
    """Decide each claim by the rows of its experiment."""
    return [_settle(claim, rows) for claim in claims]


def _out(row: Row) -> str:
    """Return why a claim cannot use a row; empty if it can."""
    if row.broken:
        return f"{title(row)} collapsed; {_REMEDY}"
    return f"{title(row)} missed its budget; {_REMEDY}" if row.off_budget else ""


_REMEDY = "make the claim about a row with a floor in every layer (budget.protection)"


def _settle(claim: Claim, rows: Sequence[Row]) -> Settled:
    there = [
        row
        for row in rows
        if claim.model in (None, row.like.model) and claim.dataset in (None, row.like.dataset)
    ]
    try:
        better, than = (find_row(there, name) for name in (claim.better, claim.than))
    except BadInputError as error:
        return Settled(claim, "undecided", None, str(error))
    if better.like.dataset != than.like.dataset:
        why = f"measured on {better.like.dataset} and on {than.like.dataset}"
        return Settled(claim, "undecided", None, why)
    if out := [why for row in (better, than) if (why := _out(row))]:
        return Settled(claim, "undecided", None, "; ".join(out))
    less, more = (row.values("test_top1_error") for row in (better, than))
    shared = len(less.keys() & more.keys())
    interval = stats.difference(more, less, max(better.resolution, than.resolution))
    if interval is None or shared < stats.FEW:
        why = f"{shared} shared seeds; an interval needs {stats.FEW}"
        return Settled(claim, "undecided", None, why)
    low, high = interval.low, interval.high
    ending: Ending = (
        "supported" if low > claim.by else "contradicted" if high < claim.by else "undecided"
    )
    margin = f", margin {claim.by:g}" if claim.by else ""
    word = "less" if interval.mean >= 0 else "more"
    level = f"{100 * stats.LEVEL:.0f} %"
    why = (
        f"{abs(interval.mean):.2f} points {word} error, {level} interval of the gain "
        f"{low:z.2f} to {high:z.2f}{margin}, {shared} seeds"
    )
    return Settled(claim, ending, interval, why)
