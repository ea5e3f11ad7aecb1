"""The gradient of one batch, computed in parts if memory is short.

The loss is a mean over images, so its gradient is the sum of the gradients of parts of the batch,
each weighted by its size. That holds if the network treats every image by itself. Batch norms do
not: parts would give them other statistics, so such a network is never trained in parts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssbench.errors import NoRoomError, RunFailedError, first_line
from ssbench.training.compiled import Compiled
from ssbench.training.device import clear_cache
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.precision import products
from ssbench.training.recipe import Precision
from ssbench.training.rng import Draws, draws, restore_draws
from ssbench.training.stopwatch import Stopwatch

PROBED = 4
"""Number of images that show whether a network treats each by itself."""
_SIGNS = (
    "can't allocate memory", "not enough memory", "bad allocation", "std::bad_alloc",
    "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "unable to find an engine to execute",
)  # fmt: skip
"""Messages of failed allocations that raise no `torch.OutOfMemoryError`: on the CPU, for pinned
memory, in cuBLAS (its workspace) and in cuDNN, where no convolution fits then."""
_SHORT = (RuntimeError, MemoryError)
"""Exceptions when memory is short. After the first one, libraries fail with other messages (oneDNN:
"could not create a primitive"), so from then on any of these counts."""
CLOSE = 16
"""The number of images that fit is found to one part in this number."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the host ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


class Backward:
    """Computes gradients, batch by batch.

    Args:
        compiles: the number format in which to compile the gradient of batches as large as the
            first one; None: compile nothing.

    Attributes:
        micro_batch: number of images per pass through the network; None: the whole batch.
        priced: times the penalties; not those of a compiled gradient, which has no such part.
        compiled: computes loss, logits and gradients of a whole batch; None: not compiled.
        notes: why it is not, though it was asked for.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        penalty: Callable[[], Tensor | None],
        optimiser: torch.optim.Optimizer,
        spread: SingleProcess,
        compiles: Precision | None = None,
    ) -> None:
        self._network, self._forward, self._penalty = network, forward, penalty
        self._optimiser, self._spread, self._compiles = optimiser, spread, compiles
        self.compiled: Compiled | None = None
        self.notes: list[str] = []
        self._device = next(network.parameters()).device
        self.micro_batch: int | None = None
        self.priced = Stopwatch(self._device)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Set the gradients of the mean loss and the penalty.

        Args:
            images: [N, C, H, W].
            labels: [N].

        Returns:
            The loss without the penalty, and the logits [N, classes], both without a graph.

        Raises:
            NoRoomError: memory is too small even for half a batch, or the network cannot be
                trained in parts; says how many images would fit.
        """
        if self._compiles and not self.micro_batch and self._spread.share.of == 1:
            self._compile(images, labels, self._compiles)
        self._compiles = None
        before = draws(self._device)
        try:
            return self._pass(images, labels, before)
        except _SHORT as error:
            if not out_of_memory(error):
                raise
            said = first_line(error)
        # Only here, outside the handler, nothing holds on to what the failed pass made.
        self.release()
        if self.compiled:
            self.drop_compiled("out of memory")
        if (
            self._spread.share.of > 1
        ):  # trying what fits would need the other processes to try the same
            raise NoRoomError(
                f"out of memory with {len(labels)} images on one of {self._spread.share.of} "
                f"devices: set a smaller batch_size, or take more devices ({said})"
            )
        why_not = "half did not fit either" if self.micro_batch else self._bound(images)
        if not why_not:
            self.micro_batch = (len(labels) + 1) // 2
            restore_draws(before, self._device)
            try:
                return self._pass(images, labels, before)
            except _SHORT:
                why_not = "half did not fit either"
        self.release()
        raise NoRoomError(self._advice(images, labels, said, why_not))

    def drop_compiled(self, reason: str) -> None:
        """Go on without the compiled gradient."""
        self.compiled = None
        self.notes.append(f"not compiled any more: {reason}")

    def _compile(self, images: Tensor, labels: Tensor, precision: Precision) -> None:
        """Compile the gradient; if that fails, say so and go on without."""
        try:
            self.compiled = Compiled(
                self._network, self._forward, self._checked_penalty, precision, (images, labels)
            )
        except RunFailedError as error:
            self.notes.append(f"not compiled: {error}")
            self.release()

    def _pass(self, images: Tensor, labels: Tensor, before: Draws) -> tuple[Tensor, Tensor]:
        size = self.micro_batch
        if size is None or size >= len(labels):
            return self.whole(images, labels)
        self._optimiser.zero_grad()
        return self._in_parts(images, labels, size, before)

    def whole(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same for a whole batch, and leave a lack of memory to the caller."""
        self._optimiser.zero_grad()
        if self.compiled and self.compiled.takes(images):
            return self.compiled(images, labels)
        logits = self._forward(images)
        loss = F.cross_entropy(logits, labels)
        self._backward(loss, self.priced.time(self._checked_penalty))
        return loss.detach(), logits.detach()

    def _in_parts(
        self, images: Tensor, labels: Tensor, size: int, before: Draws
    ) -> tuple[Tensor, Tensor]:
        """Do the same part by part; gates drawn once per batch are the same in all parts."""
        sums: list[Tensor] = []
        logits: list[Tensor] = []
        parts = zip(torch.split(images, size), torch.split(labels, size), strict=True)
        for some, of_some in parts:
            if logits:
                restore_draws(before, self._device)
            logits.append(self._forward(some))
            loss = F.cross_entropy(logits[-1], of_some, reduction="sum") / len(labels)
            last = len(logits) * size >= len(labels)
            self._backward(loss, self.priced.time(self._checked_penalty) if last else None)
            logits[-1] = logits[-1].detach()
            sums.append(loss.detach())
        return torch.stack(sums).sum(), torch.cat(logits)

    def _checked_penalty(self) -> Tensor | None:
        penalty = self._penalty()
        if penalty is not None and not penalty.requires_grad and bool(penalty != 0):
            raise RunFailedError(
                "the penalty depends on no parameter that trains, so that it would do nothing; "
                "compute it from model.get_parameter(layer.weight): prunable_weights are detached"
            )
        return penalty

    def _backward(self, loss: Tensor, penalty: Tensor | None) -> None:
        self._spread.backward(loss if penalty is None else loss + penalty)

    def _bound(self, images: Tensor) -> str:
        """Say what makes the images of a batch depend on each other; empty: nothing does.

        Looks at the modules first, then tries, as a sum over the batch can stand anywhere.
        """
        norms = [m for m in self._network.modules() if isinstance(m, _BatchNorm)]
        if any(norm.training or norm.running_mean is None for norm in norms):
            return "its batch norms would see other batches"
        buffers = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        try:
            alone = self._treats_each_alone(images[:PROBED])
        except _SHORT:
            return f"not even {PROBED} images fit"
        changed = any(not torch.equal(*pair) for pair in buffers)
        for buffer, copy in buffers:
            buffer.copy_(copy)
        if changed:
            return "the network keeps count of batches"
        return "" if alone else "the network does not treat each image by itself"

    def _treats_each_alone(self, images: Tensor) -> bool:
        start = draws(self._device)
        found = []
        with torch.no_grad(), products("fp32"):
            for parts in ([images], torch.split(images, max(len(images) // 2, 1))):
                logits = []
                for part in parts:
                    restore_draws(start, self._device)
                    logits.append(self._network(part))
                found.append(torch.cat(logits))
        restore_draws(start, self._device)
        difference = (found[0] - found[1]).abs().max()
        return bool(difference <= 1e-4 * found[0].abs().max().clamp(min=1.0))

    def _advice(self, images: Tensor, labels: Tensor, said: str, why_not: str) -> str:
        """Say what fits, found by bisection."""
        fits, too_many = 0, len(labels)
        # The optimiser allocates its own numbers at its first step: leave room for them.
        ballast = [] if self._optimiser.state else self._ballast()
        while too_many - fits > max(fits // CLOSE, 1):
            middle = (fits + too_many) // 2
            fits, too_many = (
                (middle, too_many)
                if self._does_fit(images[:middle], labels[:middle])
                else (fits, middle)
            )
        del ballast
        advice = f"set batch_size to {fits} or less" if fits > 1 else "take a smaller network"
        return (
            f"out of memory with {len(labels)} images at once; {fits or 'not even 2'} fit: "
            f"{advice} (not trained in parts, as {why_not}; {said})"
        )

    def _does_fit(self, images: Tensor, labels: Tensor) -> bool:
        if len(labels) == 1 and any(isinstance(m, _BatchNorm) for m in self._network.modules()):
            return False  # one value has no variance
        try:
            self.whole(images, labels)
        except _SHORT:
            return False
        finally:
            self.release()
        return True

    def _ballast(self) -> list[Tensor]:
        """Allocate as much memory as the optimiser will: one or two numbers per parameter."""
        copies = 2 if isinstance(self._optimiser, torch.optim.Adam) else 1
        try:
            return [
                torch.empty_like(parameter)
                for group in self._optimiser.param_groups
                for parameter in group["params"]
                for _ in range(copies)
            ]
        except _SHORT:
            return []

    def release(self) -> None:
        """Free what a failed pass left."""
        self._optimiser.zero_grad()
        clear_cache(self._device)
