"""The steps of a training: everything between two batches, recorded and replayed on a GPU.

On a CPU, and wherever a step cannot be recorded, the same lines run at every step. A recorded step
is trusted after its first three results equal those of the lines themselves, from the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssbench.data.batches import Feed
from ssbench.training.backward import Backward, first_line
from ssbench.training.clock import Clock
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.graphs import Recording, refused_waits
from ssbench.training.repeatable import watched
from ssbench.training.rng import Draws, draws, restore_draws
from ssbench.training.tally import Tally

COMPARED = 3
"""Number of steps that are computed both ways before a recording is trusted."""
WORTH = 16
"""Number of steps of one size that are left at least when a step is recorded: the recording and the
comparison take as long as some ten steps."""
CLOSE = 1e-3
"""Largest relative difference of both ways, where a step has no deterministic kernel."""
Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Number = int | float | str
_recording = [True]


@dataclass
class Parts:
    """What a step consists of."""

    model: nn.Module
    feed: Feed
    clock: Clock
    backward: Backward
    optimiser: torch.optim.Optimizer
    tally: Tally
    spread: SingleProcess
    after_step: Callable[[float], None]
    device: torch.device


class Steps:
    """Takes the steps of one training.

    Attributes:
        captured: whether steps are recorded; None: on a CPU there is nothing to record.
        notes: what is not recorded or does not repeat, and why.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._left: Counter[int] = Counter()
        on_gpu = parts.device.type == "cuda"
        self.captured: bool | None = False if on_gpu else None
        self.notes: list[str] = []
        self._tries = on_gpu and _recording[-1]
        self._after_too, self._in_after = True, False
        self._recordings: dict[int, Recording] = {}
        self._compared: dict[int, int] = {}
        self._places: list[int] = []
        self._repeats: bool | None = None
        if self._tries and parts.spread.share.of > 1:
            self._give_up("several devices train together")

    def begin(self, sizes: Sequence[int], epochs: int) -> None:
        """Start an epoch of steps with these numbers of images; ``epochs`` are left, with it."""
        self._left = Counter({size: epochs * count for size, count in Counter(sizes).items()})
        if self._recordings and self._where() != self._places:
            self.close()  # a hook has put parameters elsewhere: record anew

    def take(self, size: int) -> None:
        """Take the next step, with ``size`` images over all processes."""
        parts = self._parts
        if self._tries:
            parts.feed.fix(size)
        parts.feed.fetch(size)
        self._take(size)
        self._left[size] -= 1
        parts.tally.images += parts.spread.own(size)

    def close(self) -> None:
        """Free the memory of the recordings."""
        for recording in self._recordings.values():
            recording.free()
        self._recordings.clear()
        self._compared.clear()

    def _take(self, size: int) -> None:
        if self._tries and self._parts.backward.micro_batch:
            self._give_up("a whole batch does not fit into memory")
        if self._compared.get(size, 0) >= COMPARED:
            self._recordings[size].replay()
            self._parts.backward.priced.replayed()
            self._finish()
        elif self._repeats is None:
            self._first(size)
        elif self._tries and (size in self._recordings or self._left[size] >= WORTH):
            self._take_both_ways(size)
        else:
            self._eagerly(size)

    def _first(self, size: int) -> None:
        """Take the first step, which allocates the optimiser's memory, and watch its kernels."""
        with watched() as unrepeatable:
            self._eagerly(size)
        self._repeats = not unrepeatable
        if unrepeatable and self.captured is not None:
            names = ", ".join(unrepeatable)
            self.notes.append(f"not repeatable: no deterministic kernel of {names}")

    def _eagerly(self, size: int) -> None:
        parts = self._parts
        self._until_after(size, parts.backward)
        parts.clock.advance()
        parts.after_step(parts.clock.advance_host())

    def _until_after(self, size: int, gradient: Gradient) -> None:
        parts = self._parts
        images, labels = parts.feed.batch(size)
        parts.clock.set_rates()
        loss, logits = gradient(images, labels)
        parts.tally.add(loss, logits, labels, parts.spread.own(size))
        parts.optimiser.step()

    def _on_device(self, size: int) -> None:
        """Do what is recorded: all of a step, or all before ``after_step``."""
        self._until_after(size, self._parts.backward.whole)
        progress = self._parts.clock.advance()
        if self._after_too and progress is not None:
            self._in_after = True
            # A tensor instead of a number: whoever decides by it on the host would have to wait.
            self._parts.after_step(progress)  # type: ignore[arg-type]
            self._in_after = False

    def _finish(self) -> None:
        """Do what a recorded step leaves to the host."""
        progress = self._parts.clock.advance_host()
        if not self._after_too:
            self._parts.after_step(progress)

    def _take_both_ways(self, size: int) -> None:
        """Take a step by its lines and by its recording, from the same state."""
        parts = self._parts
        before, drawn, numbers = self._saved(), draws(parts.device), host_state(parts.model)
        self._in_after = False
        try:
            with refused_waits():
                self._on_device(size)
            after, drawn_after = self._saved(), draws(parts.device)
            self._restore(before, drawn)
            _check_host(numbers, host_state(parts.model), drawn, drawn_after)
            self._replay_recorded(size)
        except (RuntimeError, MemoryError, TypeError, ValueError) as error:
            reason = first_line(error)
        else:
            self._judge(size, after, drawn_after)
            self._finish()
            return
        # Only here, outside the handler, nothing holds on to what the failed step made.
        self.close()
        parts.backward.release()
        self._restore(before, drawn)
        _restore_host(parts.model, numbers)
        if self._in_after:
            self._after_too = False
            self.notes.append(f"captured without after_step: {reason}")
            self._take_both_ways(size)
            return
        self._give_up(reason)
        self._eagerly(size)

    def _replay_recorded(self, size: int) -> None:
        if size not in self._recordings:
            self._places = self._where()
            self._recordings[size] = Recording(lambda: self._on_device(size))
        self._recordings[size].replay()
        self._parts.backward.priced.replayed()

    def _judge(self, size: int, after: list[Tensor], drawn: Draws) -> None:
        """Compare the recorded step with ``after``, the state that its lines led to."""
        exact = bool(self._repeats)
        now = draws(self._parts.device)
        same = all(alike(*pair, exact=exact) for pair in zip(self._saved(), after, strict=True))
        if same and all(torch.equal(state, drawn[name]) for name, state in now.items()):
            self.captured = True
            self._compared[size] = self._compared.get(size, 0) + 1
            return
        self._restore(after, drawn)
        self._give_up("a captured step gave other numbers than the same step uncaptured")

    def _give_up(self, reason: str) -> None:
        self.close()
        self._tries, self.captured = False, False
        self.notes.append(f"not captured: {reason}")

    def _tensors(self) -> list[Tensor]:
        """All that a step changes."""
        parts = self._parts
        optimiser = [
            value
            for state in parts.optimiser.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        model = (*parts.model.parameters(), *parts.model.buffers())
        network = [tensor.detach() for tensor in model]
        others = (*parts.feed.state(), *parts.clock.state(), *parts.tally.state())
        return [*network, *optimiser, *others]

    def _saved(self) -> list[Tensor]:
        return [tensor.clone() for tensor in self._tensors()]

    def _restore(self, saved: list[Tensor], drawn: Draws) -> None:
        for tensor, value in zip(self._tensors(), saved, strict=True):
            tensor.copy_(value)
        restore_draws(drawn, self._parts.device)

    def _where(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors()]


@contextmanager
def uncaptured() -> Iterator[None]:
    """Record no steps inside this block; for benchmarks."""
    _recording.append(False)
    try:
        yield
    finally:
        _recording.pop()


def host_state(model: nn.Module) -> dict[str, Number]:
    """Return the numbers and words that the modules of a network hold, by name.

    A recorded step would never change them.
    """
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | str)
    }


def _restore_host(model: nn.Module, before: Mapping[str, Number]) -> None:
    for name, value in before.items():
        owner, _, key = name.rpartition(".")
        setattr(model.get_submodule(owner), key, value)


def _check_host(
    before: dict[str, Number],
    after: dict[str, Number],
    drawn: Draws,
    drawn_after: Draws,
) -> None:
    changed = sorted(name for name in before.keys() | after if before.get(name) != after.get(name))
    if changed:
        raise RuntimeError(f"a step changes {changed[0]}, which lies on the host")
    if not torch.equal(drawn["cpu"], drawn_after["cpu"]):
        raise RuntimeError("a step draws random numbers on the host")


def alike(one: Tensor, other: Tensor, *, exact: bool) -> bool:
    """Whether two tensors are equal, where both are not a number too; or else close."""
    if exact:
        return bool(((one == other) | ((one != one) & (other != other))).all())
    one, other = one.double(), other.double()
    return bool((one - other).norm() <= CLOSE * other.norm())
