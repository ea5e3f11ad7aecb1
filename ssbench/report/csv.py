"""One line per row of the tables, with raw numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ssbench.report.rows import Row
from ssbench.report.tables import winners
from ssbench.stats import mean

_MEANS = (
    "test_loss", "test_top5_error", "validation_top1_error", "validation_loss", "train_loss",
    "budget_reached", "protected", "epochs_total", "seconds_train", "seconds_penalty",
    "images_per_second", "peak_memory_bytes",
)  # fmt: skip


def as_csv(found: Sequence[Row]) -> str:
    """Write every row; errors in percent, sizes as mean over seeds."""
    import pandas as pd  # nearly a second: only for those who write the file

    groups: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        groups.setdefault((row.dataset, row.model), []).append(row)
    best = {key: winners(group) for key, group in groups.items()}
    lines = [_line(row, row.key in best[row.dataset, row.model]) for row in found]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _line(row: Row, bold: bool) -> dict[str, object]:
    before = [record["test_top1_error"] for record in row.pruned.values()]
    seconds = [record["seconds_prune"] for record in row.pruned.values()]
    thresholds = list(row.column("threshold").values())
    line: dict[str, object] = {
        "dataset": row.dataset,
        "model": row.model,
        "method": row.method,
        "label": row.label,
        "grain": row.grain,
        "budget_unit": row.unit,
        "budget_asked": row.asked,
        "n": row.n,
        "failed": len(row.failures),
        "layer_collapsed": row.collapsed,
        "test_top1_error_mean": row.mean("test_top1_error"),
        "test_top1_error_sd": row.deviation("test_top1_error"),
        "best_or_not_distinguishable": bold,
        "test_top1_error_before_finetuning": mean(before) if before else None,
        "seconds_prune": mean(seconds) if seconds else None,
        "threshold_mean": mean(thresholds) if thresholds else None,
        "threshold_min": min(thresholds, default=None),
        "threshold_max": max(thresholds, default=None),
    }
    line |= {key: row.mean(key) for key in _MEANS}
    for unit in ("params", "connections", "macs"):
        for what in ("dense", "nonzero", "compact"):
            line[f"{unit}_{what}"] = row.mean(f"{unit}_{what}")
    return line
