"""What an executor is, and the messages that it reports.

    class Mine(Executor):                       # my_package.py
        def room(self): ...                     # another stage can be submitted
        def submit(self, stage): ...            # take a stage
        def collect(self, seconds): ...         # wait, and report what has happened

    [project.entry-points."ssbench.executors"]  # pyproject.toml
    mine = "my_package:Mine"                    # ssbench run --executor mine

`ssbench.executors.coordinator` does the rest for every executor: it submits each missing stage once
its parent is in the store, shows progress, and saves the records of finished runs. A stage that an
executor takes ends with one of `Done`, `Failed`, `Busy`, `Halted`, `Orphaned` or `Refused`; before
that, the executor may report `Began`, each `Epoch`, and warnings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from ssbench.data.own.settings import DataSettings
from ssbench.errors import BadInputError
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.record import Record
from ssbench.pipeline.workbench import Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.interrupt import SAVE_EVERY
from ssbench.training.loop import Epoch


@dataclass(frozen=True)
class Where:
    """Where and how stages run; no result depends on it, except for the device.

    Attributes:
        executor: a name of `ssbench.executors.registry`.
        concurrency: number of stages side by side; auto: as many as memory and cores allow; None:
            one, and on Ray one per GPU or core.
        devices: number of devices that train each stage jointly.
        address: of a cluster, for executors that use one; Ray's: local, auto, HOST:PORT or
            ray://HOST:PORT.
        save_every: seconds between two saves of a training.
    """

    device: str = "auto"
    executor: str = "local"
    concurrency: int | Literal["auto"] | None = None
    devices: int = 1
    address: str | None = None
    save_every: float = SAVE_EVERY
    dry_run: bool = False


@dataclass(frozen=True)
class Job:
    """What an executor needs to run the stages of an experiment.

    Attributes:
        workbench: the data set in this process; on the CPU for executors `elsewhere`.
        store: gets the finished stages.
        where: the user's options.
        dataset: its name, for other processes to open it below ``data_root``.
        data: how to prepare images of one's own.
        cache: the store's folder or URL, for other processes.
        method_files: methods from files, for other processes to import.
    """

    workbench: Workbench
    store: CheckpointStore
    where: Where = field(default_factory=Where)
    dataset: str = ""
    data: DataSettings = field(default_factory=DataSettings)
    data_root: Path = field(default_factory=Path)
    cache: Path | str = ""
    method_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Began:
    """The computation of a stage starts."""

    stage: Stage


@dataclass(frozen=True)
class Warned:
    """Something is odd but changes no result."""

    text: str


@dataclass(frozen=True)
class Done:
    """The stage is in the store."""


@dataclass(frozen=True)
class Failed:
    """The stage failed, and with it every run that it belongs to.

    Attributes:
        facts: further keys of the record.
        ends: whether its process has lost its device and can run no other stage.
    """

    reason: str
    facts: Record = field(default_factory=dict)
    ends: bool = False


@dataclass(frozen=True)
class Busy:
    """Another process holds the stage or its parent: it is submitted again later."""

    holder: str


@dataclass(frozen=True)
class Halted:
    """The stage ended as asked; ``saved`` names what was saved of it."""

    saved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Orphaned:
    """The parent's tensors are damaged or missing: the parent is computed again first."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """The input is at fault: no further stage is submitted."""

    message: str


Message = Epoch | Began | Warned | Done | Failed | Busy | Halted | Orphaned | Refused
Report = Callable[[Stage, Message], None]
"""Receives an executor's messages about a stage, in the thread that calls the executor."""


class Executor(ABC):
    """Runs stages: in this process, in others, or on other machines.

    The constructor gets the job, the runs without a record, and the function to report to. While
    the coordinator uses an executor, a first request to stop is only noted (`STOP.asked`); an
    executor that waits long waits for `STOP.waits` too, or uses ``STOP.at_once()``.

    Attributes:
        takes: the options of `Where` that it uses, of concurrency, devices and address; others are
            refused.
        elsewhere: whether stages run on devices of other processes, so that this process opens the
            data on the CPU.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    elsewhere: ClassVar[bool] = False

    @classmethod
    def check(cls, where: Where) -> None:
        """Check the options, before anything is prepared.

        Raises:
            BadInputError: it cannot do what they say; names the option and the remedy.
        """
        standard = Where()
        served = {"concurrency": "processes", "devices": "processes", "address": "ray"}
        for name, other in served.items():
            value = getattr(where, name)
            if value != getattr(standard, name) and name not in cls.takes:
                raise BadInputError(
                    f"--{name} {value}: --executor {where.executor} does not use it; leave it out, "
                    f"or take --executor {other}"
                )
        if where.devices > 1 and where.concurrency not in (None, 1):
            raise BadInputError(
                f"--devices {where.devices}: each stage uses all devices; leave out --concurrency"
            )

    @abstractmethod
    def __init__(self, job: Job, runs: Sequence[Run], report: Report) -> None:
        """Start what runs the stages.

        Raises:
            BadInputError: there is no such device, cluster or cache.
        """

    @abstractmethod
    def room(self) -> bool:
        """Whether another stage can be submitted now."""

    @abstractmethod
    def submit(self, stage: Stage) -> None:
        """Take a stage whose parent is in the store; it may already report the end of it."""

    @abstractmethod
    def collect(self, seconds: float | None) -> None:
        """Wait for messages, at most this long, and report them. A stage is under way."""

    def halt(self) -> None:
        """Ask running stages to end soon; the coordinator collects until all have ended."""

    def close(self) -> None:
        """End every process that still runs, and wait for it."""
