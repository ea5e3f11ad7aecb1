"""Read the records of one results folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError

Record = dict[str, Any]
FORMAT = 1
_NEEDED = ("format", "run", "experiment", "dataset", "model", "method", "label", "stage", "status")


def load(folder: Path) -> list[list[Record]]:
    """Read every run of a folder: for each its records, one per stage.

    Raises:
        BadInputError: there are none, a line is no record, or they are of several experiments.
    """
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise BadInputError(f"{folder}: no records (*.jsonl); run an experiment first")
    runs = [_run(path) for path in paths]
    names = sorted({run[0]["experiment"] for run in runs})
    if len(names) > 1:
        raise BadInputError(
            f"{folder} mixes the experiments {', '.join(names)}; keep each in a folder of its own"
        )
    return runs


def _run(path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInputError(f"{path}, line {number}: not JSON ({error}); restore it") from error
        missing = [key for key in _NEEDED if key not in record]
        if missing or record["format"] != FORMAT:
            why = f"lacks {', '.join(missing)}" if missing else f"has format {record['format']}"
            raise BadInputError(
                f"{path}, line {number}: {why}; this version of ssbench reads format {FORMAT}"
            )
        records.append(record)
    if not records:
        raise BadInputError(f"{path}: empty; remove it and run the experiment again")
    return records
