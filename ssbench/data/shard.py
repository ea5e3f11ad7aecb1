"""Divide the rows of a batch among processes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one process trains on.

    Attributes:
        rank: the number of the process, from 0.
        of: the number of processes.
    """

    rank: int = 0
    of: int = 1

    def rows(self, size: int) -> slice:
        """Return this process's rows of a batch of ``size`` images; may be empty.

        The rows are consecutive from process to process; their numbers differ by at most one.
        """
        return slice(size * self.rank // self.of, size * (self.rank + 1) // self.of)

    def shown(self, size: int) -> slice:
        """Return the rows to pass through this process's network: its own, or one that is ignored.

        A process without rows must still take part in every exchange, and some networks cannot be
        called without images.
        """
        own = self.rows(size)
        return own if own.start < own.stop else slice(own.start, own.start + 1)

    def counts(self, size: int) -> list[int]:
        """Return the number of rows of each process."""
        ends = [size * rank // self.of for rank in range(self.of + 1)]
        return [end - begin for begin, end in pairwise(ends)]


WHOLE = Shard()
