"""How much two methods' masks agree: is it just magnitude?

Masks are compared on the sample of weights that records hold (`mask_sample`), seed by seed: kept by
both / kept by either (Jaccard). Two masks that keep shares a and b at random overlap by
ab / (a + b - ab); only what is beyond that says that two criteria like the same weights.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ssbench import stats
from ssbench.report import text
from ssbench.report.nested import MaskSample
from ssbench.report.rows import Row

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Two rows of one budget; shares in [0, 1], means over the ``seeds`` that both have.

    Attributes:
        jaccard: the share of weights that both keep, of those that either keeps.
        chance: the same for two random masks that keep as much.
        within: the same for two masks that are random but for how much they keep of each layer;
            None where the layers of the weights are not known, as of a sample.
        error: the standard error that looking at a sample gives ``jaccard``, for one seed; 0 where
            all weights were compared.
    """

    budget: str
    first: str
    second: str
    jaccard: float
    chance: float
    error: float
    seeds: int
    within: float | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        layers = "" if self.within is None else f", by chance within each layer {self.within:.2f}"
        seeds = f"{self.seeds} seed{'' if self.seeds == 1 else 's'}"
        sampled = f" ± {self.error:.2f}" if self.error else ""
        return (
            f"{self.budget}: {self.first} and {self.second}: {self.jaccard:.2f}{sampled} "
            f"(by chance {self.chance:.2f}{layers}, {seeds})"
        )


CAPTION = (
    "Overlap of the masks of two rows at one budget and seed: weights kept by both, as a share of "
    "those kept by either, over all prunable weights (a sample of them where a standard error is "
    "given); by chance: two random masks of the same sizes."
)


def overlaps(rows: Sequence[Row]) -> list[Overlap]:
    """Compare every two rows of each budget's share, whatever its unit, by the sampled masks."""
    found = []
    for title, group in by_share(rows):
        samples = {row: _samples(row) for row in group}
        for first, second in combinations(group, 2):
            pair = _overlap(title, (first, second), (samples[first], samples[second]))
            found += [pair] if pair else []
    return found


def by_share(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Part the pruned rows by the share that was to stay, with its title; units are not told apart.

    A method that is counted in params and one in connections have no budget in common otherwise.
    """
    shares = {row.budget[0]: None for row in rows if row.budget[0] is not None}
    found = []
    for share in shares:
        group = [row for row in rows if row.budget[0] == share and row.done]
        units = list(dict.fromkeys(row.budget[1] for row in group))
        titles = [text.asked(share, unit) for unit in units] or [text.asked(share, None)]
        others = [title.rpartition(" ")[2] for title in titles[1:]] if share != "own" else []
        found.append((" or ".join([titles[0], *others]), group))
    return found


def decode(sample: MaskSample) -> Bits:
    """Return the sample's bits, True for a kept weight."""
    packed = np.frombuffer(base64.b64decode(sample.kept), dtype=np.uint8)
    return np.unpackbits(packed, count=sample.weights).astype(bool)


def _samples(row: Row) -> dict[int, Bits]:
    pruned = {run.final.seed: run.pruned for run in row.done}
    return {
        seed: decode(record.mask_sample)
        for seed, record in pruned.items()
        if record and record.mask_sample
    }


def _overlap(
    title: str, rows: tuple[Row, Row], samples: tuple[dict[int, Bits], dict[int, Bits]]
) -> Overlap | None:
    seeds = [
        seed for seed, bits in samples[0].items() if len(samples[1].get(seed, ())) == len(bits)
    ]
    found = [jaccard(samples[0][seed], samples[1][seed]) for seed in seeds]
    if not found:
        return None
    both, chance, either = (stats.mean(values) for values in zip(*found, strict=True))
    error = math.sqrt(both * (1 - both) / either) if either else 0.0
    return Overlap(title, rows[0].name, rows[1].name, both, chance, error, len(found))


def jaccard(first: Bits, second: Bits) -> tuple[float, float, int]:
    """Return the overlap of two masks, that of random masks as large, and how many either keeps.

    Args:
        first: True for a kept weight [weights].
        second: the same weights.
    """
    either = int((first | second).sum())
    share = float(first.mean()), float(second.mean())
    union = share[0] + share[1] - share[0] * share[1]
    chance = share[0] * share[1] / union if union else 0.0
    return (int((first & second).sum()) / either if either else 0.0), chance, either
