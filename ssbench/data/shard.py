"""Which rows of a batch are whose."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one of several processes has.

    Attributes:
        rank: the number of the process, from 0.
        of: how many there are.
    """

    rank: int = 0
    of: int = 1

    def rows(self, size: int) -> slice:
        """This process's rows of a batch of ``size`` images; none, where there are fewer of them.

        Consecutive and without gaps from process to process; their numbers differ by one at most.
        """
        return slice(size * self.rank // self.of, size * (self.rank + 1) // self.of)

    def shown(self, size: int) -> slice:
        """The rows that pass through this process's network: its own, or one that does not count.

        A process without a row takes part in every exchange all the same, and not every network
        can be called with no image at all.
        """
        own = self.rows(size)
        return own if own.start < own.stop else slice(own.start, own.start + 1)

    def counts(self, size: int) -> list[int]:
        """How many rows each of the processes has."""
        ends = [size * rank // self.of for rank in range(self.of + 1)]
        return [end - begin for begin, end in pairwise(ends)]


WHOLE = Shard()
