"""Unfinished trainings: keep the last saved epoch of a stage until the stage is finished.

    <cache>/partial/<stage id>-0 or -1/   model.safetensors, record.json

The two take turns: the older one is removed when the newer one is complete. So a process killed at
any moment leaves one to resume from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ssbench import __version__
from ssbench.errors import BadInputError
from ssbench.experiment.stage import Stage
from ssbench.storage.checkpoints import CheckpointStore
from ssbench.training.checkpoint import Checkpointer, TrainingState, fits
from ssbench.training.interrupt import Stop
from ssbench.training.provenance import Origin

FORMAT = 2
"""Increased when the saved content changes; other formats are not resumed."""
REST = 20.0
"""Wait this many times as long as a save took before the next: saving costs at most 5 %."""
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
    """The unfinished stages of a cache.

    Attributes:
        store: where they lie.
        device: of the trainings: ``cpu`` or ``cuda``.
        stop: a request to end the process.
        every: save after the first epoch that ends this many seconds after the last save; 0: after
            every epoch, whatever it costs.
        warn: receives one line about each state that cannot be used or saved.
        writes: whether to save and remove anything; a process that helps another to train only
            reads what that one saved.
    """

    store: CheckpointStore
    device: str
    stop: Stop
    every: float
    warn: Callable[[str], None] = field(repr=False)
    writes: bool = True

    def saver(self, stage: Stage) -> Checkpointer:
        """Return what saves the training of a stage."""
        return _StageSaver(self, stage) if self.writes else _StageReader(self, stage)

    def forget(self, stage: str) -> None:
        """Remove a stage's saved epochs."""
        for slot in _slots(stage) if self.writes else ():
            if self.store.has(slot):
                self.store.remove(slot)

    def tidy(self, finished: CheckpointStore) -> None:
        """Remove the saved epochs of finished stages, which killed processes left."""
        self.store.prepare()
        for name in self.store.finished():
            stage, _, slot = name.rpartition("-")
            if slot in ("0", "1") and finished.has(stage):
                self.store.remove(name)

    def maker(self) -> dict[str, Any]:
        """Return what must be equal in the process that resumes."""
        return {
            "partial": FORMAT,
            "ssbench": __version__,
            "torch": torch.__version__,
            "device": self.device,
        }


class _StageSaver(Checkpointer):
    """Saves one stage's training into two places by turns."""

    def __init__(self, partials: ResumePoints, stage: Stage) -> None:
        self._all, self._stage = partials, stage
        self._slots = _slots(stage.id)  # the newest first
        self._last, self._pause = time.monotonic(), partials.every

    def resume(self, network: nn.Module) -> TrainingState | None:
        """Return the newest usable state; if none of the saved ones is usable, warn why."""
        usable: dict[str, TrainingState] = {}
        reasons = []
        for slot in self._slots:
            if self._all.store.has(slot):
                try:
                    usable[slot] = self._read(slot, network)
                except _UNREADABLE as error:
                    reasons.append(str(error) or type(error).__name__)
        if usable:
            newest = max(usable, key=lambda slot: int(usable[slot].facts["epoch"]))
            if newest != self._slots[0]:
                self._slots = self._slots[::-1]
            self._compare(usable[newest].facts["origins"][-1])
            return usable[newest]
        if reasons and self._all.writes:
            self._all.warn(
                f"{self._stage.kind} {self._stage.id}: starts from the beginning, as its saved "
                f"epochs cannot be used ({reasons[0]})"
            )
        return None

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Make requests to stop wait for the end of the epoch."""
        self._last = time.monotonic()
        with self._all.stop.deferred():
            yield

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        """Save if it is time to, or if the process is asked to end; then end it.

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
        """Warn if the training resumes with another number of threads: results then differ."""
        threads = torch.get_num_threads() if self._all.device == "cpu" else None
        if self._all.writes and before["threads"] != threads:
            self._all.warn(
                f"{self._stage.kind} {self._stage.id}: resumes with {threads} threads after "
                f"{before['threads']}, which round differently; its record says so (trained_on)"
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
        """Save and return whether it worked; a training goes on without being saved."""
        began = time.monotonic()
        newer, older = self._slots[::-1]
        store, saved = self._all.store, take()
        try:
            store.remove(newer)  # a leftover of a killed process, if it exists
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
    """Resumes from the epochs that another process saves for all."""

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        """Save nothing."""


def _slots(stage: str) -> tuple[str, str]:
    return f"{stage}-0", f"{stage}-1"
