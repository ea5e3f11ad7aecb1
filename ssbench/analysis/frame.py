"""Records as a tidy pandas table: one row per run or per stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssbench.storage.records import RunRecords, folders_below, read_runs
from ssbench.storage.schema import KEYS

if TYPE_CHECKING:
    import pandas as pd

_BEFORE = ("test_top1_error", "test_top5_error", "test_loss", "validation_top1_error")


def load_results(folder: str | Path, *, stages: bool = False) -> pd.DataFrame:
    """Read an experiment's records, or those of all experiments one level below.

    Args:
        folder: of records (``*.jsonl``), or of such folders.
        stages: one row per stage as measured, instead of one per run.

    Returns:
        A table with a row per run. Columns are the keys of a record (docs/metrics.md): errors in
        percent, shares in [0, 1], times in seconds, sizes as counts; values of the last stage, but
        times summed over all stages. Further columns: ``kept_params``, ``kept_connections`` and
        ``kept_macs`` (nonzero / dense), ``setting_NAME`` for each hyper-parameter, ``before_KEY``
        (errors after pruning and before finetuning) and ``dead_layers``, the number of layers
        without a weight. Failed runs have ``status`` "failed". With ``stages`` the column
        ``number`` counts a run's stages from 0, and nothing is summed.

    Raises:
        BadInputError: no records, or a line that is not a record.
    """
    import pandas as pd

    path = Path(folder)
    folders = folders_below(path)
    runs = [run for each in folders or [path] for run in read_runs(each)]
    lines = [line for run in runs for line in (_stages(run) if stages else [_run(run)])]
    return pd.DataFrame(lines).convert_dtypes()


def as_parquet(runs: Sequence[RunRecords]) -> bytes:
    """Return runs, at least one, as a Parquet file: the table of `load_results`.

    Raises:
        ImportError: pyarrow is not installed.
    """
    import pandas as pd

    content = pd.DataFrame([_run(run) for run in runs]).convert_dtypes().to_parquet(index=False)
    assert isinstance(content, bytes)  # without a path pandas returns the content
    return content


def _run(run: RunRecords) -> dict[str, Any]:
    line = _flat(run, -1)
    line |= {key: run.total(key) for key in KEYS.in_csv("total")} | {"energy_joules": run.joules}
    before = run.pruned
    return line | {f"before_{key}": getattr(before, key) if before else None for key in _BEFORE}


def _stages(run: RunRecords) -> list[dict[str, Any]]:
    return [{"number": number} | _flat(run, number) for number in range(len(run.stages))]


def _flat(run: RunRecords, number: int) -> dict[str, Any]:
    """Return one stage without nested values, and with values derived from it."""
    record = run.stages[number]
    line = {
        key: value
        for key, value in record
        if key not in {"format", *KEYS.nested} and not isinstance(value, list | dict)
    }
    # Separate the share from the word "own": a column has one type.
    line["budget_asked"] = None if record.budget_asked == "own" else record.budget_asked
    line["budget_own"] = record.budget_asked == "own"
    for unit in ("params", "connections", "macs"):
        dense, nonzero = line[f"{unit}_dense"], line[f"{unit}_nonzero"]
        line[f"kept_{unit}"] = nonzero / dense if dense and nonzero is not None else None
    line["dead_layers"] = sum(share == 0 for share in record.layers.values())
    return line | {f"setting_{name}": _setting(value) for name, value in record.settings.items()}


def _setting(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) else str(value)
