"""Budgets: how much a pruned network may keep."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from ssbench.errors import within

Unit = Literal["connections", "params", "macs"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Kept = float | Literal["own"]
Protection = Annotated[float, within(0, 0.9999, "a layer that keeps all its units is not pruned")]
Passes = Annotated[int, within(1, 100, "each pass prunes and trains the network once more")]
Schedule = Annotated[
    list[Annotated[float, within(1e-6, 1, "it is a share of the dense network")]],
    Field(min_length=1, max_length=100),
]
"""The kept share after each pass, from the first to the last."""
Scope = Literal["global", "layerwise"]
FLOOR = 0.005
"""The share of its units that every layer keeps in the additional row beside each row with one
threshold for the whole network; the same for all methods."""
TOLERANCE = 0.05
"""Relative deviation from the requested share beyond which a network has missed its budget."""


class Budget(BaseModel):
    """A kept share of connections, params or MACs, or "own": the method's own threshold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    unit: Unit = "connections"
    kept: Kept = Field(default=1.0)
    scope: Scope = "global"
    """One threshold for the network, or the same share of every layer."""
    protection: Protection = 0.0
    """The share of its units that every layer keeps regardless of scores."""
    passes: Passes = 1
    """Number of rounds of training and pruning before finetuning; the kept share falls
    geometrically, unless there is a schedule."""
    schedule: tuple[float, ...] = ()
    """The kept share after each pass, if the experiment lists them."""

    def at(self, number: int) -> Budget:
        """Return the budget of one pass, counted from 1; "own" stays unchanged."""
        if self.kept == "own" or number == self.passes:
            return self
        if self.schedule:
            return self.model_copy(update={"kept": self.schedule[number - 1]})
        return self.model_copy(update={"kept": self.kept ** (number / self.passes)})
