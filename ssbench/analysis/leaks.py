"""Find rows whose test error is further below their validation error than chance explains.

No method trains on either split, so errors on the two differ by chance and by the difficulty of
their images. A method that saw the test images has a lower error on these alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row

LEVEL = 0.01
"""Probability that a table without a leak names a row, whatever the number of its rows."""


@dataclass(frozen=True)
class _Errors:
    """Mean errors over seeds, as shares, and the numbers of images."""

    row: Row
    test: float
    validation: float
    images: tuple[int, int]

    @property
    def gap(self) -> float:
        """Test less validation, transformed so that all rows have the same sampling error."""
        return stats.stable(self.test) - stats.stable(self.validation)

    @property
    def sampling(self) -> float:
        """Standard deviation of the gap from drawing images, as if seeds were independent."""
        return math.sqrt(sum(1 / (4 * count) for count in self.images) / len(self.row.done))

    def by_chance(self) -> float:
        """Return the probability of so low a test error; seeds count as one: same images.

        Rounds errors in the row's favour: up on test, down on validation.
        """
        test, validation = self.images
        wrong = math.ceil(self.test * test - 1e-9), math.floor(self.validation * validation + 1e-9)
        return stats.fewer_by_chance((wrong[0], test), (wrong[1], validation))


def leaks(rows: Sequence[Row]) -> list[str]:
    """Return a warning that names the rows of a table that may have used test images.

    Two tests can name a row, each at half of `LEVEL` divided by the number of rows: two binomial
    shares (one run of the row), and the gap between the two errors against the gaps of the other
    methods' rows, which share the images and their difficulty.
    """
    tested = [errors for row in rows if (errors := _errors(row)) is not None]
    if not tested:
        return []
    level = LEVEL / 2 / len(tested)
    named = [each for each in tested if min(each.by_chance(), _beside(each, tested)) < level]
    if not named:
        return []
    texts = [
        f"{each.row.name} at {wording.asked(*each.row.budget)} ({100 * each.test:.2f} % on test, "
        f"{100 * each.validation:.2f} % on validation)"
        for each in named
    ]
    return [
        "The test error is further below the validation error than chance explains, as if the "
        f"method saw the test images: {wording.listing(texts)}. Do not trust it "
        "before you know why."
    ]


def _errors(row: Row) -> _Errors | None:
    test, validation = row.spread("test_top1_error"), row.spread("validation_top1_error")
    last = row.done[0].final if row.done else None
    if not (test and validation and last and last.test_images and last.validation_images):
        return None
    images = last.test_images, last.validation_images
    return _Errors(row, test.mean / 100, validation.mean / 100, images)


def _beside(each: _Errors, all_: Sequence[_Errors]) -> float:
    """Return how likely a row's gap is among those of other methods on the same data set."""
    others = [
        other.gap
        for other in all_
        if other.row.like.method != each.row.like.method and other.images == each.images
    ]
    return stats.below_others(each.gap, others, each.sampling)
