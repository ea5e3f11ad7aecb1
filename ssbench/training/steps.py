"""The steps of a training: everything between two batches, recorded and replayed on a GPU.

On a CPU, and wherever a step cannot be recorded, the same lines run at every step. A recorded step
is trusted after its first three results equal those of the lines themselves, from the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from ssbench.errors import first_line
from ssbench.training.device import clear_cache
from ssbench.training.graphs import Recording, refused_waits
from ssbench.training.host_state import restore_host
from ssbench.training.repeatable import watched
from ssbench.training.step_state import Parts, Saved, StepState, check_host

COMPARED = 3
"""Number of steps that are computed both ways before a recording is trusted."""
WORTH = 16
"""Number of steps of one size that are left at least when a step is recorded: the recording and the
comparison take as long as some ten steps."""
Gradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
RENEWALS = 3
"""How many times an ``after_step`` on the host may change what is recorded."""
_recording = [True]


class Steps:
    """Takes the steps of one training.

    Attributes:
        captured: whether steps are recorded; None: on a CPU there is nothing to record.
        notes: what is not recorded or does not repeat, and why.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts, self._state = parts, StepState(parts)
        self._left: Counter[int] = Counter()
        on_gpu = parts.device.type == "cuda"
        self.captured: bool | None = False if on_gpu else None
        self.notes: list[str] = []
        self._tries = on_gpu and _recording[-1]
        self._after_too, self._in_after = parts.records_after_step, False
        self._recordings: dict[int, Recording] = {}
        self._compared: dict[int, int] = {}
        self._renewed = 0
        self._repeats: bool | None = None
        self._batch: tuple[Tensor, Tensor] | None = None
        if self._tries and parts.spread.share.of > 1:
            self._give_up("several devices train together")

    def begin(self, sizes: Sequence[int], epochs: int) -> None:
        """Start an epoch of steps with these numbers of images; ``epochs`` are left, with it."""
        self._left = Counter({size: epochs * count for size, count in Counter(sizes).items()})

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
        self._parts.backward.priced.forget()
        for recording in self._recordings.values():
            recording.free()
        self._recordings.clear()
        self._compared.clear()

    def _take(self, size: int) -> None:
        if self._tries and self._parts.backward.micro_batch:
            self._give_up("a whole batch does not fit into memory")
        if self._tries and not self._parts.feed.steady:
            self._give_up("batches differ in shape")
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
        self._after_on_host()

    def _until_after(self, size: int, gradient: Gradient) -> None:
        parts = self._parts
        images, labels = parts.feed.batch(size)
        if self.captured is None:
            # Until the next batch is there: a CPU's allocator else returns its memory to the
            # system and asks for it again, which takes 5 to 20 % of a step.
            self._batch = images, labels
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
        if self._after_too:
            self._parts.clock.advance_host()
        else:
            self._after_on_host()

    def _after_on_host(self) -> None:
        """Call ``after_step``; what it changes of a recorded or compiled step is made anew.

        No other Python of a method or a network runs between such steps.
        """
        parts, progress = self._parts, self._parts.clock.advance_host()
        if not self._recordings and not parts.backward.compiled:
            parts.after_step(progress)
            return
        before = self._state.fingerprint()
        parts.after_step(progress)
        now = self._state.fingerprint()
        if parts.backward.compiled and now.numbers != before.numbers:
            parts.backward.drop_compiled("after_step changes a number that a module holds")
        if self._recordings and now != before:
            self.close()
            self._renewed += 1
            if self._renewed > RENEWALS:
                self._give_up("after_step often changes what a captured step reads")

    def _take_both_ways(self, size: int) -> None:
        """Take a step by its lines and by its recording, from the same state."""
        parts = self._parts
        self._in_after = False
        before: Saved | None = None
        try:
            before = self._state.save()
            with refused_waits():
                self._on_device(size)
            after = self._state.save()
            self._state.restore(before)
            check_host(before, after)
            self._replay_recorded(size)
            same = self._state.equals(after, exact=bool(self._repeats))
        except Exception as error:  # networks and methods raise any kind
            _raise_interrupt(error)
            reason = first_line(error)
        else:
            self._judge(size, after, same=same)
            self._finish()
            return
        # Only here, outside the handler, nothing holds on to what the failed step made.
        self.close()
        parts.backward.release()
        if before is not None:
            self._state.restore(before)
            restore_host(parts.model, before.numbers)
        if self._in_after:
            self._host_after(reason)
            self._take_both_ways(size)
            return
        self._give_up(reason)
        self._eagerly(size)

    def _host_after(self, reason: str) -> None:
        self._after_too = False
        self.notes.append(f"captured without after_step: {reason}")

    def _replay_recorded(self, size: int) -> None:
        if size not in self._recordings:
            self._parts.backward.priced.settle()
            self._recordings[size] = Recording(lambda: self._on_device(size))
        self._recordings[size].replay()
        self._parts.backward.priced.replayed()

    def _judge(self, size: int, after: Saved, *, same: bool) -> None:
        """Trust the recorded step, or go on from ``after``, the state that its lines led to."""
        if not same:
            self._state.restore(after)
            self._give_up("a captured step gave other numbers than the same step uncaptured")
            return
        self.captured = True
        self._compared[size] = self._compared.get(size, 0) + 1
        if self._compared[size] == COMPARED:
            clear_cache(self._parts.device)  # what the lines needed is no longer used

    def _give_up(self, reason: str) -> None:
        self.close()
        self._tries = False
        self.notes.append(f"not captured{' any more' * bool(self.captured)}: {reason}")


@contextmanager
def uncaptured() -> Iterator[None]:
    """Record no steps inside this block; for benchmarks."""
    _recording.append(False)
    try:
        yield
    finally:
        _recording.pop()


def _raise_interrupt(error: BaseException) -> None:
    """Raise the request to stop that an error while recording may hide."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, Exception):
            raise cause
        cause = cause.__context__
