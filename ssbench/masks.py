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
from safetensors import SafetensorError, safe_open

from ssbench import stats
from ssbench.errors import BadInputError
from ssbench.report.overlap import Overlap, by_share, jaccard
from ssbench.report.records import Run
from ssbench.report.rows import Row

Masks = dict[str, NDArray[np.bool_]]
"""By layer, flat: True for a kept weight."""
_HELD = "held:"


def has_masks(rows: Sequence[Row], cache: Path) -> bool:
    """Whether the checkpoints of all pruned runs are there."""
    runs = [run for row in rows for run in row.done if run.pruned]
    return bool(runs) and all(_path(run, cache) is not None for run in runs)


def overlaps(rows: Sequence[Row], cache: Path) -> list[Overlap]:
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


def read(run: Run, cache: Path) -> Masks:
    """Read the masks of a run's last pruning, by layer.

    Raises:
        BadInputError: the checkpoint is not there, or damaged.
    """
    path = _path(run, cache)
    if path is None:
        raise BadInputError(
            f"{run.final.run}: its checkpoint is not under {cache}; name another --cache, or "
            "remove the record and run the experiment again"
        )
    layers = run.pruned.layers if run.pruned else {}
    try:
        with safe_open(path, framework="numpy") as file:
            return {
                name: file.get_tensor(f"{_HELD}{name}.weight").reshape(-1).astype(bool)
                for name in layers
            }
    except (OSError, SafetensorError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); delete {path.parent}") from error


def _of(row: Row, seed: int) -> Run | None:
    return next((run for run in row.done if run.final.seed == seed), None)


def _path(run: Run, cache: Path) -> Path | None:
    stage = run.pruned.stage_id if run.pruned else None
    path = cache / "stages" / (stage or "") / "model.safetensors"
    return path if stage and path.exists() else None


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
