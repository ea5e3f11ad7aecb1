"""Make the records of a run: one flat object per stage, always with every key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ssbench.experiment.stage import PROTOCOL, Run, Stage
from ssbench.models.weights import said
from ssbench.storage.jsonl import SEALED
from ssbench.storage.schema import KEYS

FORMAT = SEALED
Record = dict[str, Any]


def now() -> str:
    """Return the time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def records(
    run: Run,
    stages: list[Record],
    reason: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Make the records of a run.

    Args:
        run: the run.
        stages: the measurements of its stages, in order; a failed run has fewer.
        reason: why the next stage failed.
        facts: further keys of the failed stage's record.
    """
    result: list[Record] = []
    inherited: Record = {}
    for stage, measured in zip(run.stages, stages, strict=reason is None):
        result.append(_empty(run, stage) | inherited | measured)
        inherited = {key: result[-1][key] for key in KEYS.kept}
    if reason is not None:
        end = {"status": "failed", "reason": reason, "time": now()}
        result.append(_empty(run, run.stages[len(stages)]) | end | dict(facts or {}))
    return result


def _empty(run: Run, stage: Stage) -> Record:
    budget = run.budget
    return {
        **dict.fromkeys(KEYS.measured),
        "layers": {},
        "uncounted": {},
        "untouched": {},
        "format": FORMAT,
        "run": run.id,
        "experiment": run.experiment,
        "dataset": stage.dataset,
        "data_fingerprint": stage.fingerprint,
        "model": stage.model,
        "method": run.file.name,
        "method_file": run.file.content,
        "label": run.label,
        "settings": run.method.settings,
        "grain": run.method.grain,
        "seed": stage.seed,
        "architecture": stage.architecture.described(),
        "start": said(stage.start),
        "budget_unit": budget.unit if budget else None,
        "budget_asked": budget.kept if budget else None,
        "scope": budget.scope if budget else None,
        "protection": budget.protection if budget else None,
        "passes": budget.passes if budget else None,
        "schedule": list(budget.schedule) if budget and budget.schedule else None,
        "budget_of_stage": stage.budget.kept if stage.budget else None,
        "retrain": run.retrain,
        "tuning": run.tuning,
        "stage": stage.kind,
        "stage_id": stage.id,
        "row_id": run.stage.alike,
        "protocol": PROTOCOL,
        "command": None,
        "status": "done",
        "reason": None,
        "recipe": stage.recipe.model_dump() if stage.recipe else None,
        "snapshot": stage.snapshot,
        "scratch_limit": stage.scratch_limit if stage.retrain == "scratch-b" else None,
        "precision": stage.recipe.precision if stage.recipe else None,
        "compile": stage.recipe.compile if stage.recipe else None,
        "lr": stage.recipe.lr if stage.recipe else None,
        "epochs": stage.epochs,
        "epochs_total": stage.epochs_total,
    }
