"""The scores that a selection was made by, as a histogram small enough for a record."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 64
DECADES = 8
"""A logarithmic histogram begins no further than this below the largest score."""
_SPANNED = 100.0
"""Scores of one sign that span more than this factor are told apart by their logarithm only."""


def histogram(scores: Tensor) -> dict[str, Any]:
    """Count scores in `BINS` bins of equal width, of equal ratio where they span decades.

    Args:
        scores: one per unit, of any shape; -inf for what an earlier pass has pruned.

    Returns:
        ``scale`` ("log" or "linear"), ``low`` and ``high`` (the edges of the range), ``counts``
        (by bin, from low to high), ``below`` (finite scores under ``low``, zeros among them) and
        ``gone`` (units that an earlier pass had pruned). Without a finite score the range and the
        counts are empty.
    """
    finite = scores.reshape(-1)[torch.isfinite(scores.reshape(-1))].double()
    gone = int((scores == -torch.inf).sum())
    if not len(finite):
        return {"scale": "linear", "low": 0.0, "high": 0.0, "counts": [], "below": 0, "gone": gone}
    high, positive = float(finite.max()), finite[finite > 0]
    wide = len(positive) > 0 and high / float(positive.min()) > _SPANNED
    if bool((finite >= 0).all()) and wide:
        low = max(float(positive.min()), high * 10.0**-DECADES)
        counts = _count(positive[positive >= low].log10(), *torch.tensor([low, high]).log10())
        scale = "log"
    else:
        low = float(finite.min())
        counts = _count(finite, low, high)
        scale = "linear"
    below = len(finite) - sum(counts)
    return {"scale": scale, "low": low, "high": high, "counts": counts, "below": below,
            "gone": gone}  # fmt: skip


def _count(values: Tensor, low: Tensor | float, high: Tensor | float) -> list[int]:
    """Count values of [low, high] in bins of equal width; the largest is in the last bin."""
    width = (float(high) - float(low)) / BINS
    if width <= 0:
        return [len(values), *[0] * (BINS - 1)]
    places = ((values - float(low)) / width).floor().clamp(0, BINS - 1).long()
    return [int(count) for count in torch.bincount(places, minlength=BINS)]
