"""Result files -> checked runs; nothing is ever written here.

>>> [run.final.test_top1_error for run in read_runs(Path("results/quickstart"))]
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.errors import BadInputError

Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Histogram(BaseModel):
    """The scores of all units at a pruning, see `ssbench.sparsity.histogram`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    scale: Literal["log", "linear"]
    low: float
    high: float
    counts: list[Count]
    below: Count
    gone: Count


class MaskSample(BaseModel):
    """Kept or not, for the same few thousand weights, see `ssbench.sparsity.sample`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    weights: Count
    kept: str


class Tuning(BaseModel):
    """How a method's hyper-parameters were chosen on the validation split.

    Attributes:
        trials: so many choices were tried, of which ``distinct`` differ and ``failed`` came to no
            end.
        seeds: they were tried on.
        kept: the shares over which the error that decided is the mean; none for the dense network.
        space: by hyper-parameter, among which values; ``space_id`` is its hash.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    trials: Count
    distinct: Count
    failed: Count
    seeds: list[int]
    kept: list[float | str]
    space: dict[str, str]
    space_id: str
    chosen: dict[str, Any]


class Record(BaseModel):
    """One line of a result file: what one stage measured. Keys that no report needs may follow.

    Errors are in percent, shares in [0, 1], times in seconds; None where a key does not apply.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    format: Literal[1]
    run: str
    experiment: str
    dataset: str
    model: str
    method: str
    label: str
    settings: dict[str, Any]
    grain: str
    seed: int
    budget_unit: Literal["connections", "params", "macs"] | None
    budget_asked: Annotated[float, Field(gt=0, le=1)] | Literal["own"] | None
    stage: str
    status: Literal["done", "failed"]
    reason: str | None
    epochs_total: Count | None

    tuning: Tuning | None = None
    lr: float | None = None
    budget_reached: Share | None = None
    scope: str | None = None
    protection: float | None = None
    passes: Count | None = None
    protected: Count | None = None
    threshold: float | None = None
    validation_top1_error: Percent | None = None
    validation_top5_error: Percent | None = None
    test_top1_error: Percent | None = None
    test_top5_error: Percent | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    test_loss: float | None = None
    train_images: Count | None = None
    validation_images: Count | None = None
    test_images: Count | None = None
    params_dense: Count | None = None
    params_nonzero: Count | None = None
    params_compact: Count | None = None
    connections_dense: Count | None = None
    connections_nonzero: Count | None = None
    connections_compact: Count | None = None
    macs_dense: Count | None = None
    macs_nonzero: Count | None = None
    macs_compact: Count | None = None
    norm_ops_dense: Count | None = None
    norm_ops_compact: Count | None = None
    pool_ops_dense: Count | None = None
    pool_ops_compact: Count | None = None
    bytes_dense: Count | None = None
    bytes_compact: Count | None = None
    bytes_sparse: Count | None = None
    bytes_index: Count | None = None
    surgery_difference: Annotated[float, Field(ge=0)] | None = None
    uncounted: dict[str, int] = {}
    layers: dict[str, Share] = {}
    seconds_train: Seconds | None = None
    seconds_penalty: Seconds | None = None
    seconds_prune: Seconds | None = None
    images_per_second: float | None = None
    peak_memory_bytes: Count | None = None
    device: str | None = None
    device_name: str | None = None
    threads: int | None = None
    versions: dict[str, str] | None = None
    commit: str | None = None
    time: str | None = None
    # What older records lack.
    stage_id: str | None = None
    start: str | None = None
    retrain: str | None = None
    epochs: Count | None = None
    resumed: Count | None = None
    micro_batch: Count | None = None
    diverged_epoch: Count | None = None
    curve_loss: list[float] | None = None
    curve_error: list[Percent] | None = None
    score_histogram: Histogram | None = None
    mask_sample: MaskSample | None = None


_OF_A_RESULT = (
    "test_top1_error", "test_images", "epochs_total",
    "params_dense", "params_nonzero", "params_compact",
    "connections_dense", "connections_nonzero", "connections_compact",
    "macs_dense", "macs_nonzero", "macs_compact",
)  # fmt: skip
_OF_A_RUN = ("run", "experiment", "dataset", "model", "method", "label", "seed", "settings",
             "grain", "budget_unit", "budget_asked", "scope", "protection", "passes",
             "tuning")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The stages of one run, in order; the last one is its result."""

    stages: tuple[Record, ...]

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
        """The last pruning: what was measured before the finetuning that followed it."""
        return next((s for s in reversed(self.stages) if s.stage == "prune"), None)

    def total(self, key: str) -> float | None:
        """Sum a time over the stages, in seconds; None where no stage measured it."""
        found = [getattr(stage, key) for stage in self.stages]
        times = [time for time in found if time is not None]
        return sum(times) if times else None


def load(folder: Path) -> list[dict[str, Any]]:
    """Return all records of an experiment's folder as they were written, run by run.

    Raises:
        BadInputError: no records, a line that is not a record, or several experiments.
    """
    return [raw for _, lines in _files(folder) for raw, _ in lines]


def read_runs(folder: Path) -> list[Run]:
    """Return all runs of an experiment's folder, in the order of their file names.

    Raises:
        BadInputError: no records, a line that is not a record, or several experiments.
    """
    return [Run(tuple(record for _, record in lines)) for _, lines in _files(folder)]


Lines = list[tuple[dict[str, Any], Record]]


def _files(folder: Path) -> list[tuple[Path, Lines]]:
    paths = sorted(path for path in folder.glob("*.jsonl") if not path.name.startswith("."))
    if not paths:
        raise BadInputError(
            f"{folder}: no records (*.jsonl); run an experiment first, or name the folder of one"
        )
    files = [(path, _lines(path)) for path in paths]
    first, lines = files[0]
    expected = lines[0][1].experiment
    for path, others in files:
        if others[0][1].experiment != expected:
            raise BadInputError(
                f"{path}: belongs to the experiment {others[0][1].experiment!r}, but {first.name} "
                f"to {expected!r}; keep each experiment's records in a folder of their own"
            )
    return files


def _lines(path: Path) -> Lines:
    """Read and check one run's file."""
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if not texts:
        raise BadInputError(f"{path}: empty; {_REMEDY}")
    lines = [_line(text, f"{path}, line {number}") for number, text in enumerate(texts, 1)]
    _check_run(path, [record for _, record in lines])
    return lines


_REMEDY = "remove the file and run the experiment again"


def _line(text: str, place: str) -> tuple[dict[str, Any], Record]:
    try:
        raw = json.loads(text)
        return raw, Record.model_validate(raw)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{place}: not JSON ({error.msg}); {_REMEDY}") from error
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"]) or "the line"
        message = detail["msg"][0].lower() + detail["msg"][1:]
        raise BadInputError(f"{place}: {key}: {message}; {_REMEDY}") from error


def _check_run(path: Path, stages: list[Record]) -> None:
    """See that the lines are one run's and that the last one is a result."""
    for number, stage in enumerate(stages, 1):
        other = [key for key in _OF_A_RUN if getattr(stage, key) != getattr(stages[0], key)]
        if other:
            raise BadInputError(
                f"{path}, line {number}: another {', '.join(other)} than in line 1; {_REMEDY}"
            )
    last = stages[-1]
    missing = [] if last.status == "failed" else _absent(last, _OF_A_RESULT)
    if missing:
        raise BadInputError(f"{path}, line {len(stages)}: lacks {', '.join(missing)}; {_REMEDY}")


def _absent(record: Record, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if getattr(record, key) is None]
