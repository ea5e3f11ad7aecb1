"""Whole masks from the stage checkpoints, compared two by two; imports no torch.

A stage's ``model.safetensors`` holds, as ``held:<weight name>``, True for every kept weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from ssbench import stats
from ssbench.errors import BadInputError
from ssbench.remote import open_shelf
from ssbench.report.overlap import Overlap, by_share, jaccard
from ssbench.report.records import Run
from ssbench.report.rows import Row
from ssbench.shelf import Shelf

Masks = dict[str, NDArray[np.bool_]]
"""By layer, flat: True for a kept weight."""
_HELD = "held:"


def has_masks(rows: Sequence[Row], cache: Path | str) -> bool:
    """Whether the checkpoints of all pruned runs are there."""
    runs = [run for row in rows for run in row.done if run.pruned]
    shelf = open_shelf(cache, "stages")
    return bool(runs) and all(_has(shelf, run) for run in runs)


def overlaps(rows: Sequence[Row], cache: Path | str) -> list[Overlap]:
    """Compare every two rows of each budget's share by all their prunable weights.

    Args:
        rows: of one (data set, model).
        cache: the folder of the checkpoints.

    Raises:
        BadInputError: a checkpoint is not there, or damaged.
    """
    found = []
    for title, group in by_share(rows):
        pairs: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
        for seed in sorted({run.final.seed for row in group for run in row.done}):
            masks = {row.name: read(run, cache) for row in group if (run := _of(row, seed))}
            for first, second in combinations(masks, 2):
                pairs[first, second].append(_compare(masks[first], masks[second]))
        for (first, second), values in pairs.items():
            both, chance, within = (stats.mean(each) for each in zip(*values, strict=True))
            found.append(Overlap(title, first, second, both, chance, 0.0, len(values), within))
    return found


def read(run: Run, cache: Path | str) -> Masks:
    """Read the masks of a run's last pruning, by layer.

    Raises:
        BadInputError: the checkpoint is not there, or damaged.
    """
    shelf, pruned = open_shelf(cache, "stages"), run.pruned
    if pruned is None or pruned.stage_id is None or not _has(shelf, run):
        raise BadInputError(
            f"{run.final.run}: its checkpoint is not under {cache}; name another --cache, or "
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


def _of(row: Row, seed: int) -> Run | None:
    return next((run for run in row.done if run.final.seed == seed), None)


def _has(shelf: Shelf, run: Run) -> bool:
    stage = run.pruned.stage_id if run.pruned else None
    return stage is not None and shelf.has(stage)


def _compare(first: Mapping[str, NDArray[np.bool_]], second: Masks) -> tuple[float, float, float]:
    """The overlap, that of random masks as large, and as large in every layer."""
    layers = sorted(first.keys() & second.keys())
    one, two = (np.concatenate([masks[name] for name in layers]) for masks in (first, second))
    both, chance, _ = jaccard(one, two)
    meeting = joined = 0.0
    for name in layers:
        share = float(first[name].mean()), float(second[name].mean())
        meeting += first[name].size * share[0] * share[1]
        joined += first[name].size * (share[0] + share[1] - share[0] * share[1])
    return both, chance, meeting / joined if joined else 0.0
