"""Choose images for validation and testing where the data have no such split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssbench.seeds import derive

TRAIN, VALIDATION, TEST = 0, 1, 2


def divide(
    labels: NDArray[np.int64], validation: float, test: float, seed: int
) -> NDArray[np.int64]:
    """Divide images into splits, class by class.

    Each class gives the share of its images, rounded, and at least one; one stays for training.

    Args:
        labels: classes, [N].
        validation: the share for validation; 0: none.
        test: the share for testing; 0: none.
        seed: of the random choice (numpy's frozen RandomState).

    Returns:
        `TRAIN`, `VALIDATION` or `TEST` for each image, [N].
    """
    parts = np.full(len(labels), TRAIN, np.int64)
    for label in np.unique(labels):
        where = np.flatnonzero(labels == label)
        random = np.random.RandomState(derive(seed, f"split of class {label}") % 2**32)
        order = where[random.permutation(len(where))]
        left = len(where)
        for part, share in ((TEST, test), (VALIDATION, validation)):
            count = min(max(1, round(share * len(where))), left - 1) if share else 0
            parts[order[left - count : left]] = part
            left -= count
    return parts


def lacking(labels: NDArray[Any], parts: NDArray[np.int64], part: int) -> list[int]:
    """Return the classes without an image in a part."""
    return sorted(set(np.unique(labels).tolist()) - set(np.unique(labels[parts == part]).tolist()))


def chosen(shares: Mapping[str, float], seed: int, place: str) -> list[str]:
    """Say in a line which splits were chosen; none if there are no shares."""
    said = " and ".join(f"{100 * share:g} % for {split}" for split, share in shares.items())
    line = f"{place}: there is no such split, so ssbench chose {said} of each class, at random"
    return [f"{line} (data.seed = {seed})"] if shares else []
