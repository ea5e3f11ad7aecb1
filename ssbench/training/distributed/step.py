"""The current batch of a joint training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssbench.data.shard import Shard


@dataclass(frozen=True)
class Step:
    """A batch of ``size`` images over all processes, and this process' share of it."""

    share: Shard
    size: int
    device: torch.device

    @cached_property
    def own(self) -> int:
        """Number of images that count here; 0: one filler image passes through the network."""
        return self.share.counts(self.size)[self.share.rank]

    @cached_property
    def weight(self) -> float:
        """This process' fraction of the batch."""
        return self.own / self.size

    @cached_property
    def weights(self) -> Tensor:
        """Every process' fraction of the batch, [processes, 1], in double precision."""
        parts = [count / self.size for count in self.share.counts(self.size)]
        return torch.tensor(parts, dtype=torch.double, device=self.device).unsqueeze(1)

    def per_image(self, length: int) -> int | None:
        """Return the number of rows per image in a tensor whose first dimension is ``length``.

        None if its rows are not images.
        """
        shown = max(self.own, 1)
        return length // shown if length % shown == 0 else None
