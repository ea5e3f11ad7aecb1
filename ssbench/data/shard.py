"""The rows of a batch that belong to each process."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Shard:
    """One process's part of every batch.

    Attributes:
        rank: the number of the process, from 0.
        of: the number of processes.
    """

    rank: int = 0
    of: int = 1

    def rows(self, size: int) -> slice:
        """Return this process's rows of a batch of ``size`` images; empty if there are too few.

        Rows are consecutive from process to process; their numbers differ by at most one.
        """
        return slice(size * self.rank // self.of, size * (self.rank + 1) // self.of)

    def shown(self, size: int) -> slice:
        """Return the rows that pass through this process's network: its own, or a filler.

        A process without rows still takes part in every exchange, and not every network accepts an
        empty batch.
        """
        own = self.rows(size)
        return own if own.start < own.stop else slice(own.start, own.start + 1)

    def counts(self, size: int) -> list[int]:
        """Return the number of rows of each process."""
        ends = [size * rank // self.of for rank in range(self.of + 1)]
        return [end - begin for begin, end in pairwise(ends)]


WHOLE = Shard()
