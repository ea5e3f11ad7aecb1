"""Measure how much two methods' masks agree: is it just magnitude?

Compares masks on the sample of weights in the records (`mask_sample`), seed by seed: kept by both /
kept by either (Jaccard). Two random masks that keep shares a and b overlap by ab / (a + b - ab);
only a larger overlap shows that two criteria prefer the same weights.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row
from ssbench.errors import BadInputError
from ssbench.storage.folders import FolderStore
from ssbench.storage.records import RunRecords
from ssbench.storage.schema import MaskSample
from ssbench.storage.url_folders import open_shelf

Masks = dict[str, NDArray[np.bool_]]
"""Flat masks by layer: True for a kept weight."""
_HELD = "held:"


def has_masks(rows: Sequence[Row], cache: Path | str) -> bool:
    """Whether the cache has the checkpoints of all pruned runs."""
    runs = [run for row in rows for run in row.done if run.pruned]
    shelf = open_shelf(cache, "stages")
    return bool(runs) and all(_has(shelf, run) for run in runs)


def whole_overlaps(rows: Sequence[Row], cache: Path | str) -> list[Overlap]:
    """Compare every two rows of each share by all their prunable weights.

    Args:
        rows: of one (data set, model).
        cache: the folder of the checkpoints.

    Raises:
        BadInputError: a checkpoint is missing or damaged.
    """
    pairs_of_rows = []
    for title, group in by_share(rows):
        pairs: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
        for seed in sorted({run.final.seed for row in group for run in row.done}):
            masks = {row.name: read(run, cache) for row in group if (run := _of(row, seed))}
            for first, second in combinations(masks, 2):
                pairs[first, second].append(_compare(masks[first], masks[second]))
        for (first, second), values in pairs.items():
            both, chance, within = (stats.mean(each) for each in zip(*values, strict=True))
            pairs_of_rows.append(
                Overlap(title, first, second, both, chance, 0.0, len(values), within)
            )
    return pairs_of_rows


def read(run: RunRecords, cache: Path | str) -> Masks:
    """Read the masks of a run's last pruning, by layer.

    Raises:
        BadInputError: the checkpoint is missing or damaged.
    """
    shelf, pruned = open_shelf(cache, "stages"), run.pruned
    if pruned is None or pruned.stage_id is None or not _has(shelf, run):
        raise BadInputError(
            f"{run.final.run}: its checkpoint is not under {cache}; give another --cache, or "
            "remove the record and run the experiment again"
        )
    try:
        tensors = load(shelf.read(pruned.stage_id, "model.safetensors"))
        return {
            name: tensors[f"{_HELD}{name}.weight"].reshape(-1).astype(bool)
            for name in pruned.layers
        }
    except (SafetensorError, KeyError) as error:
        raise BadInputError(
            f"{shelf.place}/{pruned.stage_id}: cannot be read ({error}); remove it and the record, "
            "and run the experiment again"
        ) from error


def _of(row: Row, seed: int) -> RunRecords | None:
    return next((run for run in row.done if run.final.seed == seed), None)


def _has(shelf: FolderStore, run: RunRecords) -> bool:
    stage = run.pruned.stage_id if run.pruned else None
    return stage is not None and shelf.has(stage)


def _compare(first: Mapping[str, NDArray[np.bool_]], second: Masks) -> tuple[float, float, float]:
    """Return the overlap, and that of random masks of equal size, overall and per layer."""
    layers = sorted(first.keys() & second.keys())
    one, two = (np.concatenate([masks[name] for name in layers]) for masks in (first, second))
    both, chance, _ = jaccard(one, two)
    meeting = joined = 0.0
    for name in layers:
        share = float(first[name].mean()), float(second[name].mean())
        meeting += first[name].size * share[0] * share[1]
        joined += first[name].size * (share[0] + share[1] - share[0] * share[1])
    return both, chance, meeting / joined if joined else 0.0


Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Two rows of one budget; shares in [0, 1], means over the ``seeds`` that both have.

    Attributes:
        jaccard: of the weights that either keeps, the share that both keep.
        chance: the same for two random masks of the same sizes.
        within: the same for two random masks of the same sizes in each layer; None if the layers
            are unknown, as in a sample.
        error: the standard error of ``jaccard`` from sampling weights, for one seed; 0 if all
            weights were compared.
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
        """Return the overlap in one line."""
        layers = "" if self.within is None else f", by chance within each layer {self.within:.2f}"
        seeds = f"{self.seeds} seed{'' if self.seeds == 1 else 's'}"
        sampled = f" ± {self.error:.2f}" if self.error else ""
        return (
            f"{self.budget}: {self.first} and {self.second}: {self.jaccard:.2f}{sampled} "
            f"(by chance {self.chance:.2f}{layers}, {seeds})"
        )


CAPTION = (
    "Overlap of the masks of two rows at one budget and seed: weights kept by both, as a share of "
    "those kept by either, over all prunable weights (over a sample of them if there is a standard "
    "error); by chance: two random masks of the same sizes."
)


def overlaps(rows: Sequence[Row]) -> list[Overlap]:
    """Compare every two rows of each share, in any unit, by the sampled masks."""
    pairs = []
    for title, group in by_share(rows):
        samples = {row: _samples(row) for row in group}
        for first, second in combinations(group, 2):
            pair = _overlap(title, (first, second), (samples[first], samples[second]))
            pairs += [pair] if pair else []
    return pairs


def by_share(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Group the pruned rows by the share to keep, with a title; units are not distinguished.

    Otherwise a method counted in params and one counted in connections would share no budget.
    """
    shares = {row.budget[0]: None for row in rows if row.budget[0] is not None}
    groups = []
    for share in shares:
        group = [row for row in rows if row.budget[0] == share and row.done]
        units = list(dict.fromkeys(row.budget[1] for row in group))
        titles = [wording.asked(share, unit) for unit in units] or [wording.asked(share, None)]
        others = [title.rpartition(" ")[2] for title in titles[1:]] if share != "own" else []
        groups.append((" or ".join([titles[0], *others]), group))
    return groups


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
    """Return the overlap of two masks, that of random masks, and how many either keeps.

    Args:
        first: True for a kept weight [weights].
        second: the same weights.
    """
    either = int((first | second).sum())
    share = float(first.mean()), float(second.mean())
    union = share[0] + share[1] - share[0] * share[1]
    chance = share[0] * share[1] / union if union else 0.0
    return (int((first & second).sum()) / either if either else 0.0), chance, either
