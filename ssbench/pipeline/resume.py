"""Stages that are half done: the last saved epoch of each, until the stage is finished.

    <cache>/partial/<stage id>-0 or -1/   model.safetensors, record.json

The two take turns: the older one is removed when the newer one is complete, so that a process which
is killed at any moment leaves one that can be gone on from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ssbench.errors import BadInputError
from ssbench.experiment.stage import Stage
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.checkpoint import Checkpointer, TrainingState, fits
from ssbench.training.interrupt import Stop
from ssbench.training.provenance import Origin

FORMAT = 2
"""Raised when what is saved changes; another one is not gone on from."""
REST = 20.0
"""So many times as long as a save took, no other one is made: saving costs at most 5 %."""
_UNREADABLE = (
    BadInputError,
    OSError,
    SafetensorError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


@dataclass(frozen=True)
class ResumePoints:
    """The half-done stages of a cache.

    Attributes:
        store: where they lie.
        device: what trainings run on: ``cpu`` or ``cuda``.
        stop: whether the process is to end.
        every: save after the first epoch that ends so many seconds after the last save; 0: after
            every epoch, whatever it costs.
        warn: is told, in one line, of what cannot be used or saved.
        writes: whether anything is saved or removed; a process that helps another to train only
            goes on from what that one saved.
    """

    store: CheckpointStore
    device: str
    stop: Stop
    every: float
    warn: Callable[[str], None] = field(repr=False)
    writes: bool = True

    def saver(self, stage: Stage) -> Checkpointer:
        """What saves the training of a stage."""
        return _StageSaver(self, stage) if self.writes else _StageReader(self, stage)

    def forget(self, stage: str) -> None:
        """Remove what was saved of a stage."""
        for slot in _slots(stage) if self.writes else ():
            if self.store.has(slot):
                self.store.remove(slot)

    def tidy(self, finished: CheckpointStore) -> None:
        """Remove what was left by processes that were killed: of stages that are finished."""
        self.store.prepare()
        for name in self.store.finished():
            stage, _, slot = name.rpartition("-")
            if slot in ("0", "1") and finished.has(stage):
                self.store.remove(name)

    def maker(self) -> dict[str, Any]:
        """What has to be the same in the process that goes on."""
        return {
            "partial": FORMAT,
            "ssbench": version("ssbench"),
            "torch": torch.__version__,
            "device": self.device,
        }


class _StageSaver(Checkpointer):
    """Saves one stage's training into two places in turn."""

    def __init__(self, partials: ResumePoints, stage: Stage) -> None:
        self._all, self._stage = partials, stage
        self._slots = _slots(stage.id)  # the newest first
        self._last, self._pause = time.monotonic(), partials.every

    def resume(self, network: nn.Module) -> TrainingState | None:
        """Return the newest that can be used; where there is none but should be, say why."""
        found: dict[str, TrainingState] = {}
        reasons = []
        for slot in self._slots:
            if self._all.store.has(slot):
                try:
                    found[slot] = self._read(slot, network)
                except _UNREADABLE as error:
                    reasons.append(str(error) or type(error).__name__)
        if found:
            newest = max(found, key=lambda slot: int(found[slot].facts["epoch"]))
            if newest != self._slots[0]:
                self._slots = self._slots[::-1]
            self._compare(found[newest].facts["origins"][-1])
            return found[newest]
        if reasons and self._all.writes:
            self._all.warn(
                f"{self._stage.kind} {self._stage.id}: begins anew, as what was saved of it "
                f"cannot be used ({reasons[0]})"
            )
        return None

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Within it a request to stop waits for the end of the epoch."""
        self._last = time.monotonic()
        with self._all.stop.deferred():
            yield

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        """Save where the time has come, or where the process is to end; then that is done.

        Raises:
            Stopped: the process was asked to end.
        """
        asked = self._all.stop.asked is not None
        if not asked and time.monotonic() - self._last < self._pause:
            return
        saved = self._save(number, take)
        if asked:
            self._all.stop.check([f"{self._stage.kind}, epoch {number} of {of}"] if saved else [])

    def _compare(self, before: Origin) -> None:
        """Say so where the training goes on by another number of threads: it may, but differs."""
        threads = torch.get_num_threads() if self._all.device == "cpu" else None
        if self._all.writes and before["threads"] != threads:
            self._all.warn(
                f"{self._stage.kind} {self._stage.id}: goes on by {threads} threads after "
                f"{before['threads']}, which round otherwise; its record says so (trained_on)"
            )

    def _read(self, slot: str, network: nn.Module) -> TrainingState:
        store = self._all.store
        facts, maker = store.record(slot), self._all.maker()
        other = [name for name, value in maker.items() if facts["maker"].get(name) != value]
        if other:
            names = ", ".join(f"{name} {facts['maker'].get(name)}" for name in other)
            raise ValueError(f"made with {names}")
        saved = TrainingState(store.tensors(slot), facts)
        if not fits(saved.tensors, network):
            raise ValueError("made of another network")
        return saved

    def _save(self, number: int, take: Callable[[], TrainingState]) -> bool:
        """Save, and say whether that could be done; what cannot be saved can still be trained."""
        began = time.monotonic()
        newer, older = self._slots[::-1]
        store, saved = self._all.store, take()
        try:
            store.remove(newer)  # the one before the older, unless it is gone as it should be
            facts = saved.facts | {"maker": self._all.maker(), "epoch": number}
            store.save(newer, saved.tensors, facts)
            store.remove(older)
        except (BadInputError, OSError, SafetensorError) as error:
            self._all.warn(f"{self._stage.kind} {self._stage.id}: epoch not saved ({error})")
            return False
        finally:
            self._last = time.monotonic()
            took = self._last - began
            self._pause = self._all.every and max(self._all.every, REST * took)
        self._slots = (newer, older)
        return True


class _StageReader(_StageSaver):
    """Goes on from what another process saved, which saves for all."""

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        """Save nothing."""


def _slots(stage: str) -> tuple[str, str]:
    return f"{stage}-0", f"{stage}-1"
