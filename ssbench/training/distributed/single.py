"""A training in one process: the answers to what a training asks about other processes."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from ssbench.data.shard import WHOLE, Shard


class Sums(Protocol):
    """The sums of an epoch: loss, number of wrong images, number of images."""

    loss: Tensor | float
    wrong: Tensor | float
    images: int


class SingleProcess:
    """One process has every batch whole and exchanges nothing: all of this is free."""

    share: Shard = WHOLE

    @property
    def helps(self) -> bool:
        """Whether another process does everything but the training."""
        return self.share.rank > 0

    def network(self, model: nn.Module) -> nn.Module:
        """Return what a training calls instead of ``model``."""
        return model

    def begin_step(self, size: int) -> None:
        """Start the step of a batch of ``size`` images over all processes."""

    def own(self, size: int) -> int:
        """Number of the batch's images that count here."""
        return size

    def backward(self, loss: Tensor) -> None:
        """Set ``grad`` to the gradients of the mean loss over the whole batch.

        Args:
            loss: the mean over this process's images, plus the penalty, which counts once.
        """
        loss.backward()  # type: ignore[no-untyped-call]

    def close(self, sums: Sums) -> None:
        """At the end of an epoch, sum over all processes."""
