"""The table ``budget`` of an experiment, and of one of its methods."""

from __future__ import annotations

import itertools
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from ssbench.pruning.budget import FLOOR, Budget, Kept, Passes, Protection, Schedule, Scope, Unit


class BudgetSpec(BaseModel):
    """Budgets of an experiment, or one method's values instead of them.

    Attributes:
        unit: what the shares count; None: connections.
        kept: the shares to keep; own: the method's own threshold; None: 1/2, 1/4, … 1/32.
        scope: one threshold for the network, or the same share of every layer; None: as the
            method's authors prune.
        protection: the share of its units that every layer keeps. A number is for all rows. A list
            is for rows with one threshold for the whole network: each has one row per value; None:
            [0, 0.005].
        passes: how many times the network is trained and pruned, or the share to keep after each
            time; then the last one is ``kept``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    unit: Unit | None = None
    kept: list[Kept] | Kept | None = None
    scope: Scope | None = None
    protection: list[Protection] | Protection | None = None
    passes: Passes | Schedule | None = None

    @field_validator("kept")
    @classmethod
    def _shares(cls, kept: list[Kept] | Kept | None) -> list[Kept] | None:
        values = kept if isinstance(kept, list) else [] if kept is None else [kept]
        if kept == []:
            raise ValueError("empty sweep: name at least one share")
        for value in values:
            if value != "own" and not 0 < value <= 1:
                raise ValueError(f"{value} is outside (0, 1]")
        shares: dict[str, Kept] = {}
        for value in values:
            read = value if value == "own" else f"{100 * value:.4g} %"
            if read in shares:
                raise ValueError(f"{shares[read]} and {value} both read {read}; name each once")
            shares[read] = value
        return values or None

    @field_validator("protection")
    @classmethod
    def _floors(cls, protection: list[float] | float | None) -> list[float] | float | None:
        values = protection if isinstance(protection, list) else [protection or 0.0]
        if not values or len(set(values)) != len(values):
            raise ValueError("name at least one share, each once")
        for value in values:
            if not 0 <= value < 1:
                raise ValueError(f"{value} is outside [0, 1)")
        return protection

    @field_validator("passes")
    @classmethod
    def _falling(cls, passes: int | list[float] | None) -> int | list[float] | None:
        shares = passes if isinstance(passes, list) else []
        for before, after in itertools.pairwise([1.0, *shares]):
            if not 0 < after < before:
                raise ValueError(f"each pass keeps less than the one before, and {after} does not")
        return passes

    @model_validator(mode="after")
    def _ends_where_asked(self) -> Self:
        if isinstance(self.passes, list) and self.kept not in (None, self.passes[-1:]):
            raise ValueError(
                f"the last pass keeps {self.passes[-1]}, so kept can be nothing else; remove kept"
            )
        return self

    def expand(self, common: BudgetSpec, scope: Scope = "global") -> list[Budget]:
        """List the budgets.

        Args:
            common: the experiment's budgets, for what this one leaves open.
            scope: the method's, if both leave it open.
        """
        given = common.model_dump(exclude_none=True) | self.model_dump(exclude_none=True)
        if isinstance(shares := given.get("passes"), list):
            given |= {"kept": shares[-1:], "passes": len(shares), "schedule": tuple(shares)}
        merged: dict[str, Any] = {"scope": scope} | given
        shares = merged.pop("kept", [0.5, 0.25, 0.125, 0.0625, 0.03125])
        floors = merged.pop("protection", [0.0, FLOOR])
        if not isinstance(floors, list):
            return [Budget(kept=share, protection=floors, **merged) for share in shares]
        budgets = []
        for number, floor in enumerate(floors):
            for share in shares:
                if merged["scope"] == "global" and share != "own":
                    budgets.append(Budget(kept=share, protection=floor, **merged))
                elif not number:  # no threshold of the whole network that could empty a layer
                    budgets.append(Budget(kept=share, **merged))
        return budgets
