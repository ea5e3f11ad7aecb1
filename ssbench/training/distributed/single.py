"""What a training asks about the others that train with it, where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from torch import Tensor, nn

from ssbench.data.shard import WHOLE, Shard

Batch = tuple[Tensor, Tensor]


class Sums(Protocol):
    """What an epoch adds up: summed loss, number of wrong images, number of images."""

    loss: Tensor | float
    wrong: Tensor | float
    images: int


class SingleProcess:
    """One process has every batch whole, and nothing to exchange: all of this costs nothing."""

    share: Shard = WHOLE

    @property
    def helps(self) -> bool:
        """Whether another process does all that is not training."""
        return self.share.rank > 0

    def network(self, model: nn.Module) -> nn.Module:
        """Give what is called in the place of ``model`` in a training."""
        return model

    def batches(self, batches: Iterable[Batch], sizes: Sequence[int]) -> Iterator[Batch]:
        """Pass the batches on, each of which has so many images over all processes."""
        del sizes
        return iter(batches)

    def own(self, labels: Tensor) -> int:
        """How many images of the batch at hand count here."""
        return labels.numel()

    def backward(self, loss: Tensor) -> None:
        """Leave in ``grad`` the gradients of the mean loss over the whole batch.

        Args:
            loss: the mean over this process's images, with the penalty, which counts once.
        """
        loss.backward()  # type: ignore[no-untyped-call]

    def close(self, sums: Sums) -> None:
        """At the end of an epoch, make its sums those of all processes."""
