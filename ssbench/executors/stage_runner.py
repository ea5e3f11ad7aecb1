"""One stage carried out and saved, in whichever process; and what is told of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ssbench.data.image_folder import Files
from ssbench.errors import BadInputError, DamagedError, DivergedError, NoRoomError, RunFailedError
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.prune import missed_budget
from ssbench.pipeline.record import Record, now
from ssbench.pipeline.resume import ResumePoints
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.state import Tensors
from ssbench.pipeline.workbench import ChangedDataError, Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.results import Results
from ssbench.training.backward import out_of_memory
from ssbench.training.checkpoint import UNSAVED
from ssbench.training.device import describe, is_lost
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch, Listener


class Observer(Protocol):
    """Is told how far things are."""

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Note that a stage begins; ``run`` is the first of those that it belongs to."""

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Note a finished epoch."""

    def stage_done(self, stage: Stage) -> None:
        """Note that a stage is finished, now or before."""

    def stage_put_off(self, stage: Stage) -> None:
        """Note that a stage which began is another process's; it comes up again."""

    def waiting(self, what: str) -> None:
        """Note that there is nothing to do but to wait, and for what."""

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Note that a run is finished (``before``: it already was), with its last record."""

    def warn(self, text: str) -> None:
        """Note, in one line, what should not be but changes no result: a damaged file, say."""


@dataclass
class Outcome:
    """How the runs ended, by run id; ``failed`` with the reason."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def note(self, last: Record) -> None:
        """Sort a run in by its last record."""
        if last["status"] == "failed":
            self.failed[last["run"]] = last["reason"]
        else:
            self.done.append(last["run"])


class StageFailedError(Exception):
    """A stage could not be finished; the text is the reason, for the record.

    Attributes:
        facts: further entries of the record.
        lost: whether this process can no longer use its device.
    """

    def __init__(self, reason: str, facts: Record, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.facts, self.lost = facts, lost

    def alone(self) -> StageFailedError:
        """The same without its cause, whose frames hold all that the stage had in memory."""
        return StageFailedError(str(self), self.facts, lost=self.lost)


class StageRunner:
    """Carries out stages on a bench, and saves them.

    Args:
        workbench: the data and the device.
        store: where stages are kept; None: nowhere, so that only `compute` works.
        partials: where trainings are saved between epochs, to go on from there; None: nowhere.
        warn: is told, in one line, of every stage that is damaged and computed anew.
        isolated: whether one stage alone is carried out in this process, so that whatever is wrong
            is its failure.
    """

    def __init__(
        self,
        workbench: Workbench,
        store: CheckpointStore | None,
        partials: ResumePoints | None = None,
        warn: Callable[[str], None] = lambda _: None,
        *,
        isolated: bool = False,
    ) -> None:
        self._workbench, self._kept_in, self._partials, self._warn = (
            workbench,
            store,
            partials,
            warn,
        )
        self._where = describe(workbench.device)
        self._isolated = isolated

    @property
    def _store(self) -> CheckpointStore:
        assert self._kept_in is not None  # says the class
        return self._kept_in

    def carry_out(
        self, stage: Stage, listen: Listener, begins: Callable[[Stage], None] = lambda _: None
    ) -> None:
        """Carry out a stage and save it in the store, unless it is there by now.

        A parent that is not in the store, or damaged there, is carried out first. Of each stage
        that is computed ``begins`` is told just before.

        Raises:
            StageFailedError: whatever a method raised; the other runs must go on.
            BusyError: another process is at this stage or at its parent.
            Stopped: the process is to end.
            BadInputError: the store cannot be written.
        """
        with self._store.lock(stage.id):
            if self._is_there(stage):
                return
            before = self._before(stage, begins)
            begins(stage)
            found = self._as_twin(stage, before)
            tensors, record = found or self.compute(stage, before, listen)
            self._store.save(stage.id, tensors, record)
            self._forget(stage)

    def _is_there(self, stage: Stage) -> bool:
        """Whether a stage is in the store as it was written; one that is damaged is removed."""
        if not self._store.has(stage.id):
            return False
        try:
            self._store.check(stage.id)
        except DamagedError as error:
            self._warn(f"{error.told}; computed again")
            self._store.remove(stage.id)
            return False
        return True

    def _before(self, stage: Stage, begins: Callable[[Stage], None]) -> dict[str, Tensor]:
        """The tensors that a stage begins with."""
        if not stage.parent:
            return {}
        with suppress(DamagedError):
            return self._store.tensors(stage.parent.id)
        self.carry_out(stage.parent, lambda _: None, begins)
        return self._store.tensors(stage.parent.id)

    def _as_twin(self, stage: Stage, before: Mapping[str, Tensor]) -> tuple[Tensors, Record] | None:
        """What the same run without a floor gave, where it began with the very same tensors.

        None where they differ, or where that stage is not done: then there is a stage to compute.
        """
        twin = stage.twin
        if twin is None or twin.parent is None or not self._store.has(twin.id):
            return None
        try:
            theirs = self._store.tensors(twin.parent.id)
            if theirs.keys() != before.keys():
                return None
            if not all(torch.equal(theirs[name], tensor) for name, tensor in before.items()):
                return None
            return self._store.tensors(twin.id), self._store.record(twin.id)
        except DamagedError:
            return None

    def compute(
        self, stage: Stage, before: Mapping[str, Tensor], listen: Listener
    ) -> tuple[Tensors, Record]:
        """Carry out a stage; ``before`` are the tensors that its parent left.

        Raises:
            StageFailedError: whatever a method raised, if it were ``SystemExit``; the other runs
                must go on.
            Stopped: the process is to end.
            BadInputError: the input is at fault.
        """
        saver = self._partials.saver(stage) if self._partials else UNSAVED
        try:
            tensors, record = carry_out(stage, self._workbench, before, listen, saver)
        except BaseException as error:
            if STOP.wanted(error) or not (self._isolated or isinstance(error, _OF_METHODS)):
                raise
            if isinstance(error, BadInputError) and not self._isolated:
                raise
            if not (out_of_memory(error) or isinstance(error, NoRoomError)):
                self._forget(stage)  # with more memory it could go on; of all else that is in vain
            lost = is_lost(self._workbench.device) or isinstance(error, ChangedDataError)
            raise StageFailedError(_reason(stage, error), _failure(error), lost=lost) from error
        if said := missed_budget(stage, record):
            self._warn(said)
        return tensors, record | self._where | _seen(stage, self._workbench) | {"time": now()}

    def _forget(self, stage: Stage) -> None:
        if self._partials:
            self._partials.forget(stage.id)


def _seen(stage: Stage, workbench: Workbench) -> Record:
    """The images that a stage saw."""
    its = workbench.fitted(stage.preprocessing)
    in_folder = isinstance(its.dataset.train, Files)
    return {
        "train_images": len(its.train),
        "validation_images": len(its.validation),
        "test_images": len(its.test),
        "image_shape": list(its.example.shape[1:]),
        "classes": its.dataset.classes,
        "test_guess_error": its.dataset.guess_error,
        "mean": its.normalisation[0].flatten().tolist(),
        "sd": its.normalisation[1].flatten().tolist(),
        "preprocessing": stage.preprocessing.facts() if in_folder else None,
    }


_OF_METHODS = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
"""What a method's code may raise that is no more than a failure of its run."""


def _failure(error: BaseException) -> Record:
    """What a record says of a failure beside the reason."""
    return {"diverged_epoch": error.epoch} if isinstance(error, DivergedError) else {}


def failed_elsewhere(results: Results, stage: Stage) -> StageFailedError | None:
    """How a stage failed in another process that works on these records; None: it did not."""
    last = results.failure(stage.id)
    if last is None:
        return None
    return StageFailedError(str(last["reason"]), {"diverged_epoch": last.get("diverged_epoch")})


def _reason(stage: Stage, error: BaseException) -> str:
    """Say in one line what happened and where."""
    if isinstance(error, RunFailedError | BadInputError):
        return f"{stage.kind}: {error}"
    if out_of_memory(error):
        return f"{stage.kind}: out of memory ({error})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"{stage.kind}: {said} ({place})"
