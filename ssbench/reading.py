"""What the commands do that only read records: no torch is imported for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssbench import report
from ssbench.errors import BadInputError
from ssbench.files import make_folder

Record = dict[str, Any]


def render(folder: Path, formats: Sequence[str], out: Path | None) -> list[Path]:
    """Render the report of one results folder, or of every experiment under it.

    Raises:
        BadInputError: a format that is not known, or no records.
    """
    unknown = sorted(set(formats) - set(report.FORMATS))
    if unknown or not formats:
        raise BadInputError(f"--format {','.join(formats)}: known: {', '.join(report.FORMATS)}")
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder; name one that holds records (*.jsonl)")
    folders = [folder] if any(folder.glob("*.jsonl")) else _experiments(folder)
    if not folders:
        raise BadInputError(f"{folder}: no records (*.jsonl) here or one level below")
    written: list[Path] = []
    for source in folders:
        target = source if out is None else out if source == folder else out / source.name
        make_folder(target, "--out")
        written += report.render(source, target, formats)
    return written


def _experiments(folder: Path) -> list[Path]:
    return sorted({path.parent for path in folder.glob("*/*.jsonl")})


def find_run(run_id: str, results: Path) -> list[Record]:
    """Return the records of a run, given by its id or the beginning of it.

    Raises:
        BadInputError: none or several runs match.
    """
    paths = sorted(results.glob("*.jsonl")) + sorted(results.glob("*/*.jsonl"))
    exact = [path for path in paths if path.stem == run_id]
    matching = exact or [path for path in paths if run_id in path.stem]
    if not matching:
        raise BadInputError(f"{run_id}: no run of this id under {results}; choose --results")
    if len(matching) > 1:
        names = "\n  ".join(path.stem for path in matching[:10])
        raise BadInputError(f"{run_id}: {len(matching)} runs match; say more of the id:\n  {names}")
    lines = matching[0].read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
