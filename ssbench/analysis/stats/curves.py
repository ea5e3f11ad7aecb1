"""Error against size: the Pareto front, and the mean height of a curve."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Name = TypeVar("Name")
Point = tuple[float, float]
"""A size and an error."""


def pareto(points: Mapping[Name, Point]) -> list[Name]:
    """Return the names that no other beats in size and error, from the smallest to the largest.

    One point beats another if it is better in one of the two and not worse in the other.

    Args:
        points: (size, error) by name; lower is better in both.
    """
    front: list[Name] = []
    least = math.inf
    last: Point | None = None
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        if point[1] < least or point == last:
            front.append(name)
            least, last = point[1], point
    return front


def common_range(curves: Iterable[Sequence[Point]]) -> Point | None:
    """Return the range of sizes that all curves span; None if there is none.

    Args:
        curves: each at least one (size, error).
    """
    spans = [(min(x for x, _ in curve), max(x for x, _ in curve)) for curve in curves if curve]
    if not spans:
        return None
    low, high = max(low for low, _ in spans), min(high for _, high in spans)
    return (low, high) if low < high else None


def mean_height(curve: Sequence[Point], low: float, high: float) -> float:
    """Return the area under a curve over a range, divided by the width of the range.

    The curve is linear between its points (trapezoids). The result has the unit of the error and
    does not depend on the scale of the range.

    Args:
        curve: (place, error), places distinct.
        low: the start of the range, at least the first place.
        high: its end, at most the last place.

    Raises:
        ValueError: the curve does not span the range, or the range is empty.
    """
    points = sorted(curve)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    if not points or low >= high or points[0][0] > low + slack or points[-1][0] < high - slack:
        raise ValueError("the curve does not span the range")
    inside = [(x, y) for x, y in points if low < x < high]
    cut = [(low, _at(points, low)), *inside, (high, _at(points, high))]
    area = math.fsum(
        (right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in itertools.pairwise(cut)
    )
    return area / (high - low)


def _at(points: Sequence[Point], place: float) -> float:
    """Return the height of a curve at a place: linear between points, constant beyond its ends."""
    xs, ys = zip(*points, strict=True)
    return float(np.interp(place, xs, ys))
