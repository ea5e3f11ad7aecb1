"""Read result files and check them; never writes.

>>> [run.final.test_top1_error for run in read_runs(Path("results/quickstart"))]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from ssbench.errors import BadInputError, DamagedError, Fault, wrong
from ssbench.storage.files import entries
from ssbench.storage.jsonl import parse
from ssbench.storage.manifest_of_results import recipe_of
from ssbench.storage.schema import Record

_OF_A_RESULT = (
    "test_top1_error", "test_images", "epochs_total",
    "params_dense", "params_nonzero", "params_compact",
    "connections_dense", "connections_nonzero", "connections_compact",
    "macs_dense", "macs_nonzero", "macs_compact",
)  # fmt: skip
_OF_A_RUN = ("run", "experiment", "dataset", "model", "method", "label", "seed", "settings",
             "grain", "budget_unit", "budget_asked", "scope", "protection", "passes",
             "schedule", "tuning", "data_fingerprint")  # fmt: skip


@dataclass(frozen=True)
class RunRecords:
    """The stages of one run, in order; the last one is its result.

    ``recipe`` is the recipe of all runs of its folder, as text.
    """

    stages: tuple[Record, ...]
    recipe: str = ""

    @property
    def final(self) -> Record:
        """The last stage."""
        return self.stages[-1]

    @property
    def failed(self) -> bool:
        """Whether the run has no result."""
        return self.final.status == "failed"

    @property
    def pruned(self) -> Record | None:
        """The last pruning, as measured before the finetuning that followed."""
        return next((s for s in reversed(self.stages) if s.stage == "prune"), None)

    def total(self, key: str) -> float | None:
        """Sum a time over the stages, in seconds; None where no stage measured it."""
        values = [getattr(stage, key) for stage in self.stages]
        times = [time for time in values if time is not None]
        return sum(times) if times else None

    @property
    def joules(self) -> float | None:
        """The energy of all stages; None if one of them lacks it."""
        each = [stage.energy_joules for stage in self.stages]
        known = [joules for joules in each if joules is not None]
        return sum(known) if len(known) == len(each) else None


def load(folder: Path) -> list[dict[str, Any]]:
    """Return all records of an experiment's folder as they were written, run by run.

    Raises:
        BadInputError: no records, a line that is not a record, or several experiments.
    """
    return [raw for lines in _files(folder) for raw, _ in lines]


def read_runs(folder: Path) -> list[RunRecords]:
    """Return all runs of an experiment's folder, in the order of their file names.

    Raises:
        BadInputError: no records, a line that is not a record, or several experiments.
    """
    recipe = recipe_of(folder)
    return [RunRecords(tuple(record for _, record in lines), recipe) for lines in _files(folder)]


def folders_below(folder: Path) -> list[Path]:
    """Return the folder itself if it holds records, else the folders directly below that do.

    Raises:
        PermissionError: one of them is not readable, so that its records would be missing.
    """
    if _holds_records(folder):
        return [folder]
    below = [folder / name for name in sorted(entries(folder)) if not name.startswith(".")]
    return [path for path in below if _holds_records(path)]


def _holds_records(folder: Path) -> bool:
    """Whether a folder holds records, also set-aside ones, whose gap a report must mention."""
    return any(".jsonl" in name and not name.startswith(".") for name in entries(folder))


Lines = list[tuple[dict[str, Any], Record]]


def _files(folder: Path) -> Iterator[Lines]:
    """Yield run after run, so that a caller who keeps a part needs memory for that part only."""
    names = sorted(entries(folder))
    paths = [folder / name for name in names if name.endswith(".jsonl") and name[0] != "."]
    _refuse_gaps(folder)
    if not paths:
        raise BadInputError(
            f"{folder}: no records (*.jsonl); run an experiment first, or name the folder of one"
        )
    expected: str | None = None
    for path in paths:
        lines = read_file(path)
        experiment = lines[0][1].experiment
        if expected not in (None, experiment):
            raise BadInputError(
                f"{path}: belongs to the experiment {experiment!r}, but {paths[0].name} "
                f"to {expected!r}; keep each experiment's records in a folder of their own"
            )
        expected = experiment
        yield lines


def _refuse_gaps(folder: Path) -> None:
    """Refuse a folder in which a run has nothing but a damaged file that was set aside.

    Its row would silently lack a seed, or be missing.
    """
    for fault in get_args(Fault):
        for aside in sorted(folder.glob(f"*.jsonl.{fault}*")):
            path = aside.with_name(aside.name.rpartition(f".{fault}")[0])
            if not path.exists():
                raise DamagedError(
                    str(aside), "set aside and not computed again yet", f"{_REMEDY}, or remove it"
                )


def read_file(path: Path) -> Lines:
    """Read and check one run's file; return every line raw and as a record.

    Raises:
        DamagedError: ssbench did not write it so, or another version did.
        BadInputError: it cannot be read.
    """
    lines = [_line(raw, f"{path}, line {number}") for number, raw in enumerate(parse(path), 1)]
    _check_run(path, [record for _, record in lines])
    return lines


_REMEDY = "run the experiment again, which computes it again"


def _line(raw: dict[str, Any], place: str) -> tuple[dict[str, Any], Record]:
    try:
        return raw, Record.model_validate(raw)
    except ValidationError as error:
        raise DamagedError(place, wrong(error, "the line")[:300], _REMEDY) from error


def _check_run(path: Path, stages: list[Record]) -> None:
    """Check that all lines belong to one run and that the last one is a result."""
    for number, stage in enumerate(stages, 1):
        other = [key for key in _OF_A_RUN if getattr(stage, key) != getattr(stages[0], key)]
        if other:
            what = f"another {', '.join(other)} than in line 1"
            raise DamagedError(f"{path}, line {number}", what, _REMEDY)
    last = stages[-1]
    missing = [] if last.status == "failed" else _absent(last, _OF_A_RESULT)
    if missing:
        what = f"lacks {', '.join(missing)}"
        raise DamagedError(f"{path}, line {len(stages)}", what, _REMEDY)


def _absent(record: Record, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if getattr(record, key) is None]
