"""Means, intervals of paired differences, verdicts, ranks and curves; imports no torch.

>>> best_rows({"a": {0: 1.0, 1: 1.2, 2: 1.1}, "b": {0: 5.0, 1: 5.1, 2: 5.3}})
{'a'}
"""

from ssbench.analysis.stats.best import always_worse, best_row, best_rows
from ssbench.analysis.stats.curves import common_range, mean_height, pareto
from ssbench.analysis.stats.intervals import (
    FEW,
    LEVEL,
    MANY,
    Interval,
    deviation,
    difference,
    expanded,
    mean,
    paired_bootstrap,
    paired_t,
    pairs,
    rule,
    smallest_gap,
    t_quantile,
    t_tail,
)
from ssbench.analysis.stats.power import POWER, detectable, power, seeds_needed
from ssbench.analysis.stats.ranks import Ranking, critical_difference, friedman, rank, ranks
from ssbench.analysis.stats.shares import below_others, fewer_by_chance, stable
from ssbench.analysis.stats.verdict import AT_MOST, Verdict, level_of_each, looks, verdict

__all__ = [
    "AT_MOST", "FEW", "LEVEL", "MANY", "POWER", "Interval", "Ranking", "Verdict", "always_worse",
    "below_others", "best_row", "best_rows", "common_range", "critical_difference", "detectable",
    "deviation", "difference", "expanded", "fewer_by_chance", "friedman", "level_of_each", "looks",
    "mean", "mean_height", "paired_bootstrap", "paired_t", "pairs", "pareto", "power", "rank",
    "ranks", "rule", "seeds_needed", "smallest_gap", "stable", "t_quantile", "t_tail", "verdict",
]  # fmt: skip
