"""Histograms of scores, small enough for a record."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 64
DECADES = 8
"""Maximum range of a logarithmic histogram, below the largest score."""
_SPANNED = 100.0
"""Nonnegative scores that span more than this factor get a logarithmic scale."""
Ordered = NDArray[np.floating[Any]]


def histogram(scores: Tensor) -> dict[str, Any]:
    """Count scores in `BINS` bins of equal width, or of equal ratio if they span decades.

    Args:
        scores: one per unit, any shape, floats on the CPU; -inf for units that an earlier pass
            pruned.

    Returns:
        ``scale`` ("log" or "linear"), ``low`` and ``high`` (the edges of the range), ``counts``
        (by bin, from low to high), ``below`` (finite scores under ``low``, including zeros) and
        ``gone`` (units pruned by an earlier pass). Without a finite score the range and the counts
        are empty.
    """
    # Sorting allows bisection for the bins; numpy sorts ten times as fast as torch.
    ordered = np.sort(scores.reshape(-1).numpy())
    infinite = ordered.dtype.type(math.inf)  # of another type, numpy would copy all to search
    gone = int(np.searchsorted(ordered, -infinite, side="right"))
    finite = ordered[gone : np.searchsorted(ordered, infinite)]
    if not len(finite):
        return {"scale": "linear", "low": 0.0, "high": 0.0, "counts": [], "below": 0, "gone": gone}
    high = float(finite[-1]) + 0.0  # the order of 0.0 and -0.0 in a sort is arbitrary: no -0.0
    positive = finite[np.searchsorted(finite, finite.dtype.type(0), side="right") :]
    wide = len(positive) > 0 and high / float(positive[0]) > _SPANNED
    if finite[0] >= 0 and wide:
        low = max(float(positive[0]), high * 10.0**-DECADES)
        reaching = positive[bisect_left(positive, low, key=float) :]
        counts = _count(reaching, _log10, *torch.tensor([low, high]).log10().tolist())
        scale = "log"
    else:
        low = float(finite[0]) + 0.0
        counts = _count(finite, float, low, high)
        scale = "linear"
    below = len(finite) - sum(counts)
    return {"scale": scale, "low": low, "high": high, "counts": counts, "below": below,
            "gone": gone}  # fmt: skip


def _count(ordered: Ordered, scale: Callable[[Any], float], low: float, high: float) -> list[int]:
    """Count sorted values in bins of equal width on a scale; the last bin includes the largest."""
    width = (high - low) / BINS
    if width <= 0:
        return [len(ordered), *[0] * (BINS - 1)]

    def place(value: Any) -> int:
        return min(max(math.floor((scale(value) - low) / width), 0), BINS - 1)

    edges = [bisect_left(ordered, number, key=place) for number in range(1, BINS)]
    return [end - begin for begin, end in pairwise([0, *edges, len(ordered)])]


def _log10(value: Any) -> float:
    """Return torch's logarithm; math.log10 could move a score on an edge to another bin."""
    return float(torch.tensor(float(value), dtype=torch.double).log10())
