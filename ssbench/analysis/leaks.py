"""Rows whose test error is further below their validation error than chance explains.

Neither split is trained on, so that errors on both differ by chance and by how hard the images of
each happen to be. A method that saw the test images errs less on these alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ssbench.analysis import stats, wording
from ssbench.analysis.rows import Row

LEVEL = 0.01
"""How often a table without a leak may name a row, whatever the number of its rows."""


@dataclass(frozen=True)
class _Errors:
    """Mean errors over seeds, as shares, and the numbers of images."""

    row: Row
    test: float
    validation: float
    images: tuple[int, int]

    @property
    def gap(self) -> float:
        """Test less validation, transformed so that its sampling error is the same for all rows."""
        return stats.stable(self.test) - stats.stable(self.validation)

    @property
    def sampling(self) -> float:
        """The standard deviation of the gap by the drawing of images, were seeds independent."""
        return math.sqrt(sum(1 / (4 * count) for count in self.images) / len(self.row.done))

    def by_chance(self) -> float:
        """How likely so low a test error is by chance; seeds count as one, as images are the same.

        Errors are rounded to the row's disadvantage in nothing: up on test, down on validation.
        """
        test, validation = self.images
        wrong = math.ceil(self.test * test - 1e-9), math.floor(self.validation * validation + 1e-9)
        return stats.fewer_by_chance((wrong[0], test), (wrong[1], validation))


def leaks(rows: Sequence[Row]) -> list[str]:
    """Return a warning that names the rows of a table that may have been fitted to test images.

    A row is named by either of two tests, each at half of `LEVEL` divided by the number of rows:
    two binomial shares (one run of the row), and the gap between the two errors beside the gaps of
    the other methods' rows, which share the images and their difficulty.
    """
    found = [errors for row in rows if (errors := _errors(row)) is not None]
    if not found:
        return []
    level = LEVEL / 2 / len(found)
    named = [each for each in found if min(each.by_chance(), _beside(each, found)) < level]
    if not named:
        return []
    said = [
        f"{each.row.name} at {wording.asked(*each.row.budget)} ({100 * each.test:.2f} % on test, "
        f"{100 * each.validation:.2f} % on validation)"
        for each in named
    ]
    return [
        "The test error is further below the validation error than chance explains, as of a method "
        f"that saw the test images: {wording.listing(said)}. Do not trust it before you know why."
    ]


def _errors(row: Row) -> _Errors | None:
    test, validation = row.spread("test_top1_error"), row.spread("validation_top1_error")
    last = row.done[0].final if row.done else None
    if not (test and validation and last and last.test_images and last.validation_images):
        return None
    images = last.test_images, last.validation_images
    return _Errors(row, test.mean / 100, validation.mean / 100, images)


def _beside(each: _Errors, all_: Sequence[_Errors]) -> float:
    """How likely a row's gap is one of those of other methods, whose data set is the same."""
    others = [
        other.gap
        for other in all_
        if other.row.like.method != each.row.like.method and other.images == each.images
    ]
    return stats.below_others(each.gap, others, each.sampling)
