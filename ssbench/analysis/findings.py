"""Everything concluded from rows besides their tables: verdicts, fronts, ranks, claims and more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import claims as claims_
from ssbench.analysis import mask_overlap, pareto, ranking, verdicts
from ssbench.analysis.coverage import Coverage, coverage
from ssbench.analysis.dead_layers import CAPTION, Dead, collapses, lines
from ssbench.analysis.pareto import Areas, Front
from ssbench.analysis.rows import Row, twins

SHOWN = 10
"""Number of pairs of masks to list; the figure and `Findings.overlaps` have all."""


@dataclass(frozen=True)
class Block:
    """A list with heading and caption, equal in all formats."""

    title: str
    caption: str
    entries: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Conclusions from the rows of one (data set, model)."""

    coverage: Coverage
    verdicts: tuple[verdicts.Pair, ...]
    fronts: tuple[Front, ...]
    areas: tuple[Areas, ...]
    dead: tuple[Dead, ...]
    overlaps: tuple[mask_overlap.Overlap, ...]

    def most_alike(self) -> list[mask_overlap.Overlap]:
        """Return the pairs of masks that agree most beyond chance, at most `SHOWN`."""
        beyond = sorted(self.overlaps, key=lambda pair: pair.chance - pair.jaccard)
        return beyond[:SHOWN]

    def _overlap_caption(self) -> str:
        left = len(self.overlaps) - SHOWN
        if left <= 0:
            return mask_overlap.CAPTION
        pairs = f"The {SHOWN} furthest beyond chance of {len(self.overlaps)} pairs."
        return f"{mask_overlap.CAPTION} {pairs}"

    def blocks(self) -> list[Block]:
        """Return all conclusions as lists of sentences."""
        covered = (str(self.coverage), *map(str, self.coverage.gaps))
        blocks = [
            Block("Coverage", "", covered),
            Block("Verdicts", verdicts.caption(self.verdicts), _texts(self.verdicts)),
            Block("Pareto front", pareto.FRONT_CAPTION, _texts(self.fronts)),
            Block("Area under the curve", pareto.AREA_CAPTION, _texts(self.areas)),
            Block("Layers without a weight", CAPTION, tuple(lines(self.dead))),
            Block("Overlap of masks", self._overlap_caption(), _texts(self.most_alike())),
        ]
        return [block for block in blocks if block.entries]


@dataclass(frozen=True)
class Overall:
    """Conclusions from all tables of a report."""

    claims: tuple[claims_.Settled, ...]
    ranks: tuple[ranking.Ranks, ...]

    def blocks(self) -> list[Block]:
        """Return all conclusions as lists of sentences."""
        blocks = [
            Block("Claims", claims_.CAPTION, _texts(self.claims)),
            Block("Average ranks", ranking.CAPTION, _texts(self.ranks)),
        ]
        return [block for block in blocks if block.entries]


def _texts(items: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(item) for item in items)


def findings(rows: Sequence[Row]) -> Findings:
    """Draw the conclusions from the rows of one (data set, model)."""
    without_floor = twins(rows)
    areas = [pareto.areas(rows, unit) for unit in pareto.UNITS]
    return Findings(
        coverage(rows),
        tuple(verdicts.verdicts(rows)),
        tuple(found for unit in pareto.UNITS if (found := pareto.front(rows, unit)).points),
        tuple(found for found in areas if found),
        tuple(collapses(rows)),
        tuple(mask_overlap.overlaps([row for row in rows if row not in without_floor])),
    )


def overall(tables: Sequence[Sequence[Row]], settled: Sequence[claims_.Settled] = ()) -> Overall:
    """Draw the conclusions from all tables of a report together; ``tables``: their rows."""
    return Overall(tuple(settled), tuple(ranking.rankings(tables)))
