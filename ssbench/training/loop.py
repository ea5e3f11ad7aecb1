"""The one training loop: training, sparse training and finetuning differ only in its arguments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssbench.data.batches import Batches
from ssbench.data.loader import batch_sizes
from ssbench.models.state_dict import restore
from ssbench.seeds import derive
from ssbench.training.backward import Backward
from ssbench.training.checkpoint import (
    NETWORK,
    UNSAVED,
    Checkpointer,
    ExtraState,
    TrainingState,
    optimiser_tensors,
    restore_optimiser,
)
from ssbench.training.clock import Clock
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.graphs import own_stream
from ssbench.training.optimiser import optimiser
from ssbench.training.precision import forward, products
from ssbench.training.provenance import Origin, extended, origin
from ssbench.training.recipe import ParameterGroup, Recipe
from ssbench.training.repeatable import deterministic
from ssbench.training.rng import draws, restore_draws
from ssbench.training.step_state import Parts
from ssbench.training.steps import Steps
from ssbench.training.tally import Epoch as Epoch
from ssbench.training.tally import Tally


@dataclass(frozen=True)
class Trained:
    """The result of a whole training: the last epoch's loss, and wall-clock seconds.

    A training of no epoch has neither loss nor speed.

    Attributes:
        curve_loss: the loss of every epoch, and ``curve_error`` the errors in percent.
        resumed: number of times another process resumed the training.
        micro_batch: number of images per pass, if a whole batch did not fit into memory; else None.
        trained_on: where the epochs were computed, if not all in one place; else None.
        penalty_seconds: None: the penalty was compiled with the rest.
        captured: whether steps were recorded and replayed; None: on a CPU.
        compiled: whether the gradient was compiled.
        notes: what was asked for or is usual, and was not done, and why; None: nothing.
    """

    loss: float | None
    seconds: float
    penalty_seconds: float | None
    images_per_second: float | None
    curve_loss: list[float]
    curve_error: list[float]
    resumed: int
    micro_batch: int | None
    trained_on: list[Origin] | None
    captured: bool | None
    compiled: bool
    notes: list[str] | None


@dataclass(frozen=True)
class Hooks:
    """How one training differs from another.

    Attributes:
        records_after_step: whether ``after_step`` may be recorded: it keeps no state in Python.
        parts: by name, state that the hooks change beside the network, to be saved.
        saver: saves the training between epochs, and restores it.
        spread: the processes that train jointly.
    """

    groups: list[ParameterGroup] = field(default_factory=list)
    penalty: Callable[[], Tensor | None] = lambda: None
    after_step: Callable[[float], None] = lambda _: None
    records_after_step: bool = True
    parts: Mapping[str, ExtraState] = field(default_factory=dict)
    saver: Checkpointer = UNSAVED
    spread: SingleProcess = field(default_factory=SingleProcess)


Listener = Callable[[Epoch], None]


def train(
    model: nn.Module, recipe: Recipe, loader: Batches, seed: int, hooks: Hooks, listen: Listener
) -> Trained:
    """Train in place for ``recipe.epochs`` epochs, including those of a saved state.

    The batch order and the augmentation depend on ``seed`` alone; the global generator (which
    gates may draw from) is left to the caller.

    Raises:
        DivergedError: the loss of an epoch is not finite.
        NoRoomError: a step does not fit into memory.
        Stopped: someone asked the process to end; the epoch is saved.
    """
    device = next(model.parameters()).device
    model.train()
    with hooks.saver.under_way(), deterministic(device), own_stream(device):
        course = _Course(model, recipe, loader, seed, hooks)
        saved = hooks.saver.resume(model)
        if saved:
            course.go_on_from(saved)
        try:
            for number in range(len(course.curve_loss) + 1, recipe.epochs + 1):
                began = time.perf_counter()
                with products(recipe.precision):
                    epoch = course.epoch().epoch(number, recipe.epochs)
                course.note(epoch)
                listen(epoch)
                course.seconds += time.perf_counter() - began
                hooks.saver.after_epoch(number, recipe.epochs, course.saved)
        finally:
            course.close()
    return course.trained(recipe.epochs * len(loader.split))


class _Course:
    """The epochs of one training; no step waits for the device."""

    def __init__(
        self, model: nn.Module, recipe: Recipe, loader: Batches, seed: int, hooks: Hooks
    ) -> None:
        self.model, self.recipe, self.hooks, self.spread = model, recipe, hooks, hooks.spread
        self.optimiser = optimiser(model, recipe, hooks.groups)
        self.sizes = batch_sizes(len(loader.split), recipe.batch_size)
        self.generators = [
            torch.Generator().manual_seed(derive(seed, purpose))
            for purpose in ("order", "augmentation")
        ]
        self.seconds, self.resumed = 0.0, 0
        self.was: dict[str, Any] = {"captured": False, "compiled": False, "notes": []}
        self.curve_loss: list[float] = []
        self.curve_error: list[float] = []
        self.device = next(model.parameters()).device
        self.here, self.before = origin(self.device, self.spread.share.of), list[Origin]()
        network = self.spread.network(model)
        call = forward(network, self.device, recipe.precision)
        compiles = recipe.precision if recipe.compile else None
        self.backward = Backward(model, call, hooks.penalty, self.optimiser, self.spread, compiles)
        self.feed, self.tally = loader.feed(), Tally(self.device)
        steps = len(self.sizes)
        self.clock = Clock(self.optimiser, recipe.rate, recipe.epochs * steps, steps, self.device)
        self.steps = Steps(self._parts())

    def _parts(self) -> Parts:
        return Parts(
            self.model,
            self.feed,
            self.clock,
            self.backward,
            self.optimiser,
            self.tally,
            self.spread,
            self.hooks.after_step,
            self.hooks.records_after_step,
            self.device,
        )

    def epoch(self) -> Tally:
        """Take one step for each batch."""
        self.feed.begin(*self.generators)
        self.clock.begin(len(self.curve_loss) * len(self.sizes))
        self.tally.begin()
        self.steps.begin(self.sizes, self.recipe.epochs - len(self.curve_loss))
        for size in self.sizes:
            self.spread.begin_step(size)
            self.steps.take(size)
        self.spread.close(self.tally)
        return self.tally

    def close(self) -> None:
        """Free what only the steps needed."""
        self.steps.close()
        self.optimiser.zero_grad()  # gradients may lie in the memory of a recorded step

    def note(self, epoch: Epoch) -> None:
        self.curve_loss.append(epoch.loss)
        self.curve_error.append(epoch.error)
        self.backward.priced.settle()  # the loss is known, so nothing needs to wait

    def trained(self, images: int) -> Trained:
        return Trained(
            self.curve_loss[-1] if self.curve_loss else None,
            self.seconds,
            None if self._compiled else self.backward.priced.seconds,
            images / self.seconds if images else None,
            self.curve_loss,
            self.curve_error,
            self.resumed,
            self.backward.micro_batch,
            origins if len(origins := self._origins()) > 1 else None,
            self._captured,
            self._compiled,
            self._notes or None,
        )

    @property
    def _captured(self) -> bool | None:
        return None if self.steps.captured is None else self.steps.captured or self.was["captured"]

    @property
    def _compiled(self) -> bool:
        return self.backward.compiled is not None or self.was["compiled"]

    @property
    def _notes(self) -> list[str]:
        notes = (*self.was["notes"], *self.backward.notes, *self.steps.notes)
        return list(dict.fromkeys(notes))

    def _origins(self) -> list[Origin]:
        return extended(self.before, self.here, len(self.curve_loss))

    def saved(self) -> TrainingState:
        """Return everything that the next epoch depends on."""
        tensors = {NETWORK + name: t for name, t in self.model.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser)
        tensors |= {f"draws:{name}": state for name, state in draws(self.device).items()}
        for number, generator in enumerate(self.generators):
            tensors[f"generator:{number}"] = generator.get_state()
        for part, of in self.hooks.parts.items():
            tensors |= {f"{part}:{name}": tensor for name, tensor in of.give().items()}
        facts = {
            "seconds": self.seconds,
            "penalty_seconds": self.backward.priced.seconds,
            "curve_loss": self.curve_loss,
            "curve_error": self.curve_error,
            "resumed": self.resumed,
            "micro_batch": self.backward.micro_batch,
            "origins": self._origins(),
            "steps": {
                "captured": bool(self._captured),
                "compiled": self._compiled,
                "notes": self._notes,
            },
        }
        return TrainingState(tensors, facts)

    def go_on_from(self, saved: TrainingState) -> None:
        """Restore the training to a saved state."""
        restore(self.model, saved.part(NETWORK))
        restore_optimiser(self.optimiser, saved)
        for number, generator in enumerate(self.generators):
            generator.set_state(saved.tensors[f"generator:{number}"])
        for part, of in self.hooks.parts.items():
            of.take(saved.part(f"{part}:"))
        facts = saved.facts
        self.seconds, self.resumed = facts["seconds"], facts["resumed"] + 1
        self.before = facts["origins"]
        self.was = facts.get("steps", self.was)
        self.curve_loss, self.curve_error = facts["curve_loss"], facts["curve_error"]
        self.backward.priced.seconds = facts["penalty_seconds"]
        self.backward.micro_batch = facts["micro_batch"]
        restore_draws(saved.part("draws:"), self.device)
