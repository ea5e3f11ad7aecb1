"""What is written down of a run: one flat object per stage, every key always there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ssbench.experiment.stage import Run, Stage
from ssbench.storage.jsonl import SEALED

FORMAT = SEALED
Record = dict[str, Any]

_SIZES = tuple(
    f"{unit}_{what}"
    for unit in ("params", "connections", "macs")
    for what in ("dense", "nonzero", "compact")
)
_COSTS = (
    "norm_ops_dense", "norm_ops_compact", "pool_ops_dense", "pool_ops_compact",
    "bytes_dense", "bytes_compact", "bytes_sparse", "bytes_index",
)  # fmt: skip
_ERRORS = tuple(
    f"{split}_{what}"
    for split in ("validation", "test")
    for what in ("loss", "top1_error", "top5_error")
)
_FROM_PRUNE = (
    "budget_reached", "threshold", "protected", "layers", "layer_order", "uncounted",
    "surgery_difference", *_SIZES, *_COSTS,
)  # fmt: skip
"""What a finetuning does not change, as its masks stay."""
_MEASURED = (
    *_FROM_PRUNE, *_ERRORS, "train_loss", "seconds_train", "seconds_penalty", "seconds_prune",
    "images_per_second", "peak_memory_bytes", "energy_joules",
    "train_images", "validation_images", "test_images", "image_shape", "classes", "mean", "sd",
    "test_guess_error",
    "resumed", "trained_on", "micro_batch", "diverged_epoch",
    "curve_loss", "curve_error", "score_histogram", "mask_sample",
    "device", "device_name", "devices", "threads", "versions", "commit", "time",
)  # fmt: skip


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def records(
    run: Run,
    measured: list[Record],
    reason: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Make the records of a run.

    Args:
        run: the run.
        measured: what its stages measured, in order; a failed run has fewer.
        reason: why the stage after those failed.
        facts: what else is known of it.
    """
    result: list[Record] = []
    inherited: Record = {}
    for stage, found in zip(run.stages, measured, strict=reason is None):
        result.append(_empty(run, stage) | inherited | found)
        inherited = {key: result[-1][key] for key in _FROM_PRUNE}
    if reason is not None:
        end = {"status": "failed", "reason": reason, "time": now()}
        result.append(_empty(run, run.stages[len(measured)]) | end | dict(facts or {}))
    return result


def _empty(run: Run, stage: Stage) -> Record:
    budget = run.budget
    return {
        **dict.fromkeys(_MEASURED),
        "layers": {},
        "uncounted": {},
        "format": FORMAT,
        "run": run.id,
        "experiment": run.experiment,
        "dataset": stage.dataset,
        "model": stage.model,
        "method": run.file.name,
        "label": run.label,
        "settings": run.method.settings,
        "grain": run.method.grain,
        "seed": stage.seed,
        "start": stage.start.rsplit("/", 1)[-1] or "random",
        "budget_unit": budget.unit if budget else None,
        "budget_asked": budget.kept if budget else None,
        "scope": budget.scope if budget else None,
        "protection": budget.protection if budget else None,
        "passes": budget.passes if budget else None,
        "retrain": run.retrain,
        "tuning": run.tuning,
        "stage": stage.kind,
        "stage_id": stage.id,
        "row_id": run.stage.alike,
        "command": None,
        "status": "done",
        "reason": None,
        "precision": stage.recipe.precision if stage.recipe else None,
        "compile": stage.recipe.compile if stage.recipe else None,
        "lr": stage.recipe.lr if stage.recipe else None,
        "epochs": stage.epochs,
        "epochs_total": stage.epochs_total,
    }
