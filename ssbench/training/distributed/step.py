"""The batch that a joint training is at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssbench.data.shard import Shard


@dataclass(frozen=True)
class Step:
    """A batch of ``size`` images over all processes, and what this process has of it."""

    share: Shard
    size: int
    device: torch.device

    @cached_property
    def own(self) -> int:
        """How many images count here; 0: one passes through the network that does not."""
        return self.share.counts(self.size)[self.share.rank]

    @cached_property
    def weight(self) -> float:
        """Which part of the batch is this process's."""
        return self.own / self.size

    @cached_property
    def weights(self) -> Tensor:
        """Which part of the batch is whose, [processes, 1], in double precision."""
        parts = [count / self.size for count in self.share.counts(self.size)]
        return torch.tensor(parts, dtype=torch.double, device=self.device).unsqueeze(1)

    def per_image(self, length: int) -> int | None:
        """How many rows each image has in a tensor whose first dimension is ``length``.

        None where rows are not those of images.
        """
        shown = max(self.own, 1)
        return length // shown if length % shown == 0 else None
