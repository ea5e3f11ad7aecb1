"""Rows of the literature, that stand beside measured ones and never compete with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

DENSE = "dense"
"""The method of a row that gives the size which a source's other rows are pruned from."""
_PER_MULTIPLY_ADD = {"mul+add": 2, "mac": 1}

Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Line(BaseModel):
    """One line of a file: what a source says of one network, pruned or dense.

    Errors are in percent, params and flops (of one image) are counts; None where a source says
    nothing. ``flops_convention`` is what a multiply-add counts: 2 (``mul+add``) or 1 (``mac``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Word
    model: Word
    method: Word
    variant: Word | None = None
    top1_error: Percent | None = None
    top5_error: Percent | None = None
    params: Size | None = None
    flops: Size | None = None
    flops_convention: Literal["mul+add", "mac"] | None = None
    source: Word
    note: Word | None = None

    @property
    def macs(self) -> float | None:
        """Multiply-adds; None where the FLOPs are not given, or not what they count."""
        if self.flops is None or self.flops_convention is None:
            return None
        return self.flops / _PER_MULTIPLY_ADD[self.flops_convention]


@dataclass(frozen=True, eq=False)
class Published:
    """A published row.

    Attributes:
        line: what the source says; its model is called what ssbench calls it.
        dense: the same source's dense network; itself for one; None where there is none.
    """

    line: Line
    dense: Line | None

    @property
    def name(self) -> str:
        """The method and the source's name of the variant."""
        return ", ".join(part for part in (self.line.method, self.line.variant) if part)

    @property
    def is_dense(self) -> bool:
        """Whether nothing is pruned."""
        return self.line.method == DENSE

    @property
    def macs(self) -> float | None:
        """Multiply-adds of one image, converted by the source's convention; None if unknown."""
        return self.line.macs

    @property
    def params_pruned(self) -> float | None:
        """The share of the params of the source's dense network that is gone."""
        return _gone(self.line.params, self.dense.params if self.dense else None)

    @property
    def macs_pruned(self) -> float | None:
        """The share of the MACs that is gone; where both count alike, how does not matter."""
        if self.dense is None:
            return None
        if self.line.flops_convention == self.dense.flops_convention:
            return _gone(self.line.flops, self.dense.flops)
        return _gone(self.line.macs, self.dense.macs)


def _gone(left: float | None, dense: float | None) -> float | None:
    return None if left is None or dense is None else 1 - left / dense


def matching(published: Iterable[Published], dataset: str, model: str) -> list[Published]:
    """Return the published rows of a network on a data set."""
    return [row for row in published if (row.line.dataset, row.line.model) == (dataset, model)]
