"""What every command prints with ``--json``; ``ssbench schema --command NAME`` prints its schema.

A key that does not apply is left out. Keys are added, never renamed or removed.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ssbench.cli.check_output import CheckOutput
from ssbench.cli.data_output import DataOutput


class Output(BaseModel):
    """The result of a command."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(Output):
    """Why a command did nothing: printed in place of its result."""

    error: str = Field(description="the message, which names the place and the remedy")
    exit_code: int


class MethodFacts(Output):
    """A pruning method."""

    name: str
    grain: str
    settings: dict[str, Any] = Field(description="hyper-parameters and their defaults")
    search: dict[str, str] = Field(description="the values among which ssbench tune chooses")
    summary: str
    source: str = Field(description="the paper; empty for a control")


class NetworkFacts(Output):
    """A network."""

    name: str
    image: str | None = Field(default=None, description="side lengths in pixels that it accepts")
    classes: int | None = None
    params: int | None = Field(default=None, description="numbers in all parameters")
    summary: str
    untouched: str = Field(default="", description="layers that no pruning of filters reaches")


class DataSetFacts(Output):
    """A data set."""

    name: str
    image: tuple[int, int, int] | None = Field(
        default=None, description="channels, height and width"
    )
    classes: int | None = None
    images: tuple[int, int, int] | None = Field(
        default=None, description="numbers for training, validation and test"
    )
    summary: str


class ExperimentFacts(Output):
    """An experiment that ships with ssbench."""

    name: str
    title: str
    dataset: str
    models: list[str]
    seeds: list[int]


class ListOutput(Output):
    """``ssbench list``: what is available; only the kinds that were asked for."""

    methods: list[MethodFacts] | None = None
    broken: dict[str, str] | None = Field(
        default=None, description="methods that cannot be loaded, and why"
    )
    models: list[NetworkFacts] | None = None
    datasets: list[DataSetFacts] | None = None
    experiments: list[ExperimentFacts] | None = None


class PlannedOutput(Output):
    """``ssbench run --dry-run``: what a run would do."""

    experiment: str
    runs: list[str]
    refused: dict[str, str] = Field(description="runs that cannot work, and why")
    stages: int = Field(description="stages that are not finished yet")
    epochs: int
    images: int
    macs: float = Field(description="forward and backward multiply-adds of the missing stages")
    seconds: float = Field(description="at the speed of a trial on this device")


class RunOutput(Output):
    """``ssbench run``: how the runs ended."""

    experiment: str
    folder: str = Field(description="of the records and reports")
    report: str = Field(description="the report's page")
    done: list[str]
    failed: dict[str, str] = Field(description="failed runs, and why")


class TuneOutput(Output):
    """``ssbench tune``: the methods whose values were chosen."""

    experiment: str
    tuned: str | None = Field(default=None, description="the file for run --tuned")
    done: list[str]
    failed: dict[str, str]


class FilesOutput(Output):
    """``ssbench report``, ``export`` and ``new-method``: the files or folders written."""

    written: list[str]


class ItemFacts(Output):
    """A quantity of two rows, as text."""

    what: str
    first: str
    second: str


class RowChange(Output):
    """A row of both folders."""

    row: str
    kind: Literal["same", "within noise", "beyond noise", "no interval"]
    points: float | None = Field(default=None, description="of test error, second less first")
    interval: tuple[float, float] | None = None
    sizes: list[str]


class CompareOutput(Output):
    """``ssbench compare``: two rows, or two folders of results."""

    kind: Literal["rows", "folders"]
    first: str
    second: str
    differences: list[ItemFacts] | None = Field(
        default=None, description="of two rows, besides the method"
    )
    settings: list[ItemFacts] | None = None
    costs: list[ItemFacts] | None = None
    sizes: list[ItemFacts] | None = None
    verdict: str | None = Field(default=None, description="none: measured on different images")
    conditions: list[str] | None = Field(default=None, description="what changed between folders")
    rows: list[RowChange] | None = None
    only_first: list[str] | None = None
    only_second: list[str] | None = None
    summary: str | None = None


class MaskPair(Output):
    """Two rows of one budget, and the share of weights that both keep."""

    dataset: str
    model: str
    budget: str
    first: str
    second: str
    overlap: float = Field(description="kept by both, as a share of those kept by either")
    chance: float = Field(description="of two random masks of the same sizes")
    within: float | None = Field(
        default=None, description="of two random masks of the same sizes in each layer"
    )
    standard_error: float = Field(description="from sampling weights; 0: all were compared")
    seeds: int


class OverlapOutput(Output):
    """``ssbench overlap``: the masks of every two methods."""

    pairs: list[MaskPair]


class ShowOutput(Output):
    """``ssbench show``: the records of a run, one for each stage; docs/metrics.md has the keys."""

    run: str
    stages: list[dict[str, Any]]


class PackageFacts(Output):
    """A package that ssbench can use."""

    name: str
    requirement: str
    version: str | None = Field(default=None, description="none: it is missing")
    remedy: str | None = Field(default=None, description="the command that installs it")


class FolderFacts(Output):
    """A folder that ssbench reads or fills."""

    what: str
    path: str
    bytes: int | None = Field(default=None, description="none: it does not exist")
    writable: bool


class DoctorOutput(Output):
    """``ssbench doctor``: versions, devices, packages and folders."""

    versions: dict[str, str]
    devices: list[str]
    packages: list[PackageFacts]
    extras: dict[str, list[PackageFacts]]
    folders: list[FolderFacts]
    problems: list[str] = Field(description="what is missing, and the remedy")


class RunningStage(Output):
    """A stage that runs now."""

    stage: str
    kind: str
    run: str
    started: str = Field(description="UTC")
    changed: str = Field(description="UTC")
    epoch: int
    epochs: int
    loss: list[float | None] = Field(description="mean training loss of every epoch so far")
    error: list[float] = Field(description="% of wrong answers in training, of every epoch so far")
    images_per_second: float | None = None


class WatchOutput(Output):
    """``ssbench watch``: one look at the results of an experiment."""

    experiment: str
    running: list[RunningStage]
    total: int | None = Field(default=None, description="runs; none: nothing runs")
    finished: int
    failed: int
    seconds_left: float | None = None
    rows: list[str] = Field(description="finished runs, the newest last")


OUTPUTS: dict[str, type[BaseModel]] = {
    "error": Failure,
    "check": CheckOutput,
    "compare": CompareOutput,
    "data": DataOutput,
    "doctor": DoctorOutput,
    "export": FilesOutput,
    "list": ListOutput,
    "new-method": FilesOutput,
    "overlap": OverlapOutput,
    "report": FilesOutput,
    "run": RunOutput,
    "run --dry-run": PlannedOutput,
    "show": ShowOutput,
    "tune": TuneOutput,
    "watch": WatchOutput,
}
"""By command; ``error`` is what any of them prints with exit code 2."""
