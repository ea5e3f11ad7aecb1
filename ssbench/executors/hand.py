"""One stage carried out and saved, in whichever process; and what is told of it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ssbench.device import describe
from ssbench.errors import BadInputError, RunFailedError
from ssbench.pipeline import carry_out
from ssbench.record import Record, now
from ssbench.stage import Run, Stage
from ssbench.state import Tensors
from ssbench.storage import Store
from ssbench.training import Epoch, Listener
from ssbench.workbench import Bench


class Observer(Protocol):
    """Is told how far things are."""

    def stage_started(self, run: Run, stage: Stage) -> None:
        """Note that a stage begins; ``run`` is the first of those that it belongs to."""

    def epoch(self, stage: Stage, epoch: Epoch) -> None:
        """Note a finished epoch."""

    def stage_done(self, stage: Stage) -> None:
        """Note that a stage is finished, now or before."""

    def run_done(self, run: Run, result: Record, *, before: bool) -> None:
        """Note that a run is finished (``before``: it already was), with its last record."""


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
    """A stage could not be finished; the text is the reason, for the record."""


class Hand:
    """Carries out stages on a bench, and saves them."""

    def __init__(self, bench: Bench, store: Store) -> None:
        self._bench, self._store = bench, store
        self._facts = describe(bench.device) | {
            "train_images": len(bench.train),
            "validation_images": len(bench.validation),
            "test_images": len(bench.test),
            "image_shape": list(bench.example.shape[1:]),
            "classes": bench.dataset.classes,
            "mean": bench.normalisation[0].flatten().tolist(),
            "sd": bench.normalisation[1].flatten().tolist(),
        }

    def carry_out(self, stage: Stage, listen: Listener) -> None:
        """Carry out a stage whose parent is in the store, and save it there.

        Raises:
            StageFailedError: whatever a method raised; the other runs must go on.
            BadInputError: a file of the store is damaged.
        """
        before = self._store.tensors(stage.parent.id) if stage.parent else {}
        tensors, record = self.compute(stage, before, listen)
        self._store.save(stage.id, tensors, record)

    def compute(
        self, stage: Stage, before: Mapping[str, Tensor], listen: Listener
    ) -> tuple[Tensors, Record]:
        """Carry out a stage; ``before`` are the tensors that its parent left.

        Raises:
            StageFailedError: whatever a method raised; the other runs must go on.
            BadInputError: the input is at fault.
        """
        try:
            tensors, record = carry_out(stage, self._bench, before, listen)
        except BadInputError:
            raise
        except Exception as error:
            raise StageFailedError(_reason(stage, error)) from error
        return tensors, record | self._facts | {"time": now()}


def _reason(stage: Stage, error: Exception) -> str:
    """Say in one line what happened and where."""
    if isinstance(error, RunFailedError):
        return f"{stage.kind}: {error}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"{stage.kind}: out of memory ({error})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"{stage.kind}: {type(error).__name__}: {error} ({place})"
