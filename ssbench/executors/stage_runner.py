"""Run one stage and save it, in any process; report progress to an observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ssbench.data.image_folder import Files
from ssbench.errors import BadInputError, DamagedError, NoRoomError
from ssbench.executors.failure import facts_of, reason_of
from ssbench.executors.protocol import Began, Busy, Done, Failed, Message
from ssbench.experiment.stage import Run, Stage
from ssbench.pipeline.prune import missed_budget
from ssbench.pipeline.record import Record, now
from ssbench.pipeline.resume import ResumePoints
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.state import Tensors
from ssbench.pipeline.workbench import ChangedDataError, Workbench
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.storage.locks import BusyError
from ssbench.storage.results import Results
from ssbench.training.backward import out_of_memory
from ssbench.training.checkpoint import UNSAVED
from ssbench.training.device import describe, is_lost
from ssbench.training.interrupt import STOP
from ssbench.training.loop import Epoch, Listener


class Observer(Protocol):
    """Receives the progress of runs."""

    def stage_started(self, run: Run, stage: Stage) -> None:
        """A stage starts; ``run`` is the first of its runs."""

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """An epoch is finished."""

    def stage_done(self, stage: Stage) -> None:
        """A stage is finished, now or before."""

    def stage_put_off(self, stage: Stage) -> None:
        """Another process holds a stage that started here; it will be tried again."""

    def waiting(self, what: str) -> None:
        """There is nothing to do but wait for ``what``."""

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """A run is finished (``before``: it already was); ``result`` is its last record."""

    def warn(self, text: str) -> None:
        """Something is wrong but changes no result, a damaged file for example; one line."""


@dataclass
class Outcome:
    """The ids of finished runs, and of failed runs with the reason."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def note(self, last: Record) -> None:
        """Add a run by its last record."""
        if last["status"] == "failed":
            self.failed[last["run"]] = last["reason"]
        else:
            self.done.append(last["run"])


class StageFailedError(Exception):
    """A stage failed; the text is the reason, for the record.

    Attributes:
        facts: further keys of the record.
        lost: whether this process can no longer use its device.
    """

    def __init__(self, reason: str, facts: Record, *, lost: bool = False) -> None:
        super().__init__(reason)
        self.facts, self.lost = facts, lost

    def message(self) -> Failed:
        """Return it without the cause, whose frames keep the stage's memory alive."""
        return Failed(str(self), self.facts, self.lost)


class StageRunner:
    """Runs stages on a workbench and saves them.

    Args:
        workbench: the data and the device.
        store: of finished stages; None: none, so only `compute` works.
        partials: saves unfinished trainings, to resume them; None: saves none.
        warn: receives one line for every damaged stage that is computed again.
        isolated: whether this process runs only this one stage, so that any error is a failure of
            the stage.
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
        assert self._kept_in is not None  # see the class
        return self._kept_in

    def carry_out(
        self, stage: Stage, listen: Listener, begins: Callable[[Stage], None] = lambda _: None
    ) -> None:
        """Run a stage and save it in the store, unless the store has it by now.

        Runs a parent that is missing or damaged first. Calls ``begins`` just before it computes a
        stage.

        Raises:
            StageFailedError: a method raised anything; the other runs must go on.
            BusyError: another process holds the stage or its parent.
            Stopped: this process must end.
            BadInputError: the store is not writable.
        """
        with self._store.lock(stage.id):
            if self._is_there(stage):
                return
            before = self._before(stage, begins)
            begins(stage)
            reused = self._as_twin(stage, before)
            tensors, record = reused or self.compute(stage, before, listen)
            self._store.save(stage.id, tensors, record)
            self._forget(stage)

    def _is_there(self, stage: Stage) -> bool:
        """Whether the store has an undamaged stage; removes a damaged one."""
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
        """Return the tensors that a stage starts from."""
        if not stage.parent:
            return {}
        with suppress(DamagedError):
            return self._store.tensors(stage.parent.id)
        self.carry_out(stage.parent, lambda _: None, begins)
        return self._store.tensors(stage.parent.id)

    def _as_twin(self, stage: Stage, before: Mapping[str, Tensor]) -> tuple[Tensors, Record] | None:
        """Return the result of the same run without a floor, if it started from equal tensors.

        None if they differ or that stage is not done: then the stage must be computed.
        """
        twin = stage.twin
        if twin is None or twin.parent is None or not self._store.has(twin.id):
            return None
        try:
            others = self._store.tensors(twin.parent.id)
            if others.keys() != before.keys():
                return None
            if not all(torch.equal(others[name], tensor) for name, tensor in before.items()):
                return None
            return self._store.tensors(twin.id), self._store.record(twin.id)
        except DamagedError:
            return None

    def compute(
        self, stage: Stage, before: Mapping[str, Tensor], listen: Listener
    ) -> tuple[Tensors, Record]:
        """Run a stage; ``before`` are the tensors of its parent.

        Raises:
            StageFailedError: a method raised anything, even ``SystemExit``; the other runs must go
                on.
            Stopped: this process must end.
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
                self._forget(stage)  # only with more memory could it resume
            lost = is_lost(self._workbench.device) or isinstance(error, ChangedDataError)
            raise StageFailedError(reason_of(stage, error), facts_of(error), lost=lost) from error
        if warning := missed_budget(stage, record):
            self._warn(warning)
        return tensors, record | self._where | _seen(stage, self._workbench) | {"time": now()}

    def _forget(self, stage: Stage) -> None:
        if self._partials:
            self._partials.forget(stage.id)


def _seen(stage: Stage, workbench: Workbench) -> Record:
    """Return what a record says about the images of a stage."""
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
        "data": dict(its.dataset.facts) or None,
    }


_OF_METHODS = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)
"""Exceptions of a method's code that only fail its run."""


def run_stage(
    runner: StageRunner,
    stage: Stage,
    send: Callable[[Message], None],
    failed: Callable[[StageFailedError], Failed] = lambda failure: failure.message(),
) -> Message:
    """Run and save a stage; send every epoch, and `Began` for a parent that is missing.

    Args:
        runner: runs it.
        stage: to run.
        send: receives the messages before the last one.
        failed: makes the message of a failure.

    Returns:
        How it ended.
    """
    try:
        runner.carry_out(stage, send, lambda computed: send(Began(computed)))
    except BusyError as busy:
        return Busy(busy.holder)
    except StageFailedError as failure:
        return failed(failure)
    return Done()


def failed_elsewhere(results: Results, stage: Stage) -> StageFailedError | None:
    """Return a stage's failure in another process that shares these records; None: no failure."""
    last = results.failure(stage.id)
    if last is None:
        return None
    facts = {key: last.get(key) for key in ("diverged_epoch", "traceback")}
    return StageFailedError(str(last["reason"]), facts)
