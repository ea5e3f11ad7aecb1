"""The schema of a record: every key that one stage measures, and what it may hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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
