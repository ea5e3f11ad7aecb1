"""What a record holds under one key beside plain values: histograms, masks, tuning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]


class Histogram(BaseModel):
    """The scores of all units at a pruning, see `ssbench.sparsity.histogram`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    scale: Literal["log", "linear"]
    low: float
    high: float
    counts: list[Count]
    below: Count
    gone: Count


class MaskSample(BaseModel):
    """Kept or not, for the same few thousand weights, see `ssbench.sparsity.sample`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    weights: Count
    kept: str


class Tuning(BaseModel):
    """How a method's hyper-parameters were chosen on the validation split.

    Attributes:
        trials: so many choices were tried, of which ``distinct`` differ and ``failed`` came to no
            end.
        seeds: they were tried on.
        kept: the shares over which the error that decided is the mean; none for the dense network.
        space: by hyper-parameter, among which values; ``space_id`` is its hash.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    trials: Count
    distinct: Count
    failed: Count
    seeds: list[int]
    kept: list[float | str]
    space: dict[str, str]
    space_id: str
    chosen: dict[str, Any]
