"""Result files -> checked runs; nothing is ever written here.

>>> [run.final.test_top1_error for run in read_runs(Path("results/quickstart"))]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssbench.errors import BadInputError, DamagedError, Fault
from ssbench.storage.files import entries
from ssbench.storage.jsonl import parse
from ssbench.storage.manifest_of_results import recipe_of

Count = Annotated[int, Field(ge=0)]


class Histogram(BaseModel):
    """The scores of all units at a pruning, see `ssbench.pruning.histogram`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    scale: Literal["log", "linear"]
    low: float
    high: float
    counts: list[Count]
    below: Count
    gone: Count


class MaskSample(BaseModel):
    """Kept or not, for the same few thousand weights, see `ssbench.pruning.mask_sample`."""

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


Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Record(BaseModel):
    """One line of a result file: what one stage measured. Further keys may follow, of any kind.

    Errors are in percent, shares in [0, 1], times in seconds; None where a key does not apply.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    format: Literal[1, 2]
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
    classes: Count | None = None
    test_guess_error: Percent | None = None
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
    layer_order: list[str] | None = None
    row_id: str | None = None
    command: list[str] | None = None
    precision: str | None = None
    compile: bool | None = None
    energy_joules: Annotated[float, Field(ge=0)] | None = None
    devices: Count | None = None
    resumed: Count | None = None
    trained_on: list[dict[str, Any]] | None = None
    micro_batch: Count | None = None
    diverged_epoch: Count | None = None
    start: str | None = None
    retrain: str | None = None
    epochs: Count | None = None
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
class RunRecords:
    """The stages of one run, in order; the last one is its result.

    ``recipe`` is what its folder says that all its runs were trained by, as text.
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
        """The last pruning: what was measured before the finetuning that followed it."""
        return next((s for s in reversed(self.stages) if s.stage == "prune"), None)

    def total(self, key: str) -> float | None:
        """Sum a time over the stages, in seconds; None where no stage measured it."""
        found = [getattr(stage, key) for stage in self.stages]
        times = [time for time in found if time is not None]
        return sum(times) if times else None

    @property
    def joules(self) -> float | None:
        """The energy of all stages; None where it could not be read in one of them."""
        found = [stage.energy_joules for stage in self.stages]
        known = [joules for joules in found if joules is not None]
        return sum(known) if len(known) == len(found) else None


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
    """The folder itself where it holds records, else those directly below it that do.

    Raises:
        PermissionError: one of them may not be read, so that what it holds would be missing.
    """
    if _holds_records(folder):
        return [folder]
    below = [folder / name for name in sorted(entries(folder)) if not name.startswith(".")]
    return [path for path in below if _holds_records(path)]


def _holds_records(folder: Path) -> bool:
    """Whether records lie in a folder, be it one that was set aside: its gap is to be told of."""
    return any(".jsonl" in name and not name.startswith(".") for name in entries(folder))


Lines = list[tuple[dict[str, Any], Record]]


def _files(folder: Path) -> Iterator[Lines]:
    """Read run after run: who keeps only a part of each needs the memory for that part."""
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
    """See that of no run there is only a damaged file that was set aside.

    Its row would lack a seed, or be missing, and nothing would say so.
    """
    for fault in get_args(Fault):
        for aside in sorted(folder.glob(f"*.jsonl.{fault}*")):
            path = aside.with_name(aside.name.rpartition(f".{fault}")[0])
            if not path.exists():
                raise DamagedError(
                    str(aside), "set aside and not computed again yet", f"{_REMEDY}, or remove it"
                )


def read_file(path: Path) -> Lines:
    """Read and check one run's file; every line as it was written, and as a record.

    Raises:
        DamagedError: it is not what ssbench wrote, or of another version.
        BadInputError: it cannot be read.
    """
    lines = [_line(raw, f"{path}, line {number}") for number, raw in enumerate(parse(path), 1)]
    _check_run(path, [record for _, record in lines])
    return lines


_REMEDY = "run the experiment again, which computes it anew"


def _line(raw: dict[str, Any], place: str) -> tuple[dict[str, Any], Record]:
    try:
        return raw, Record.model_validate(raw)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"]) or "the line"
        message = detail["msg"][0].lower() + detail["msg"][1:]
        raise DamagedError(place, f"{key}: {message}"[:300], _REMEDY) from error


def _check_run(path: Path, stages: list[Record]) -> None:
    """See that the lines are one run's and that the last one is a result."""
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
