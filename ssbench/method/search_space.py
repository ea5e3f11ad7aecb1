"""The values to choose a hyper-parameter from: the parts of a method's ``search``.

>>> str(LogUniform(1e-5, 1e-1)), LogUniform(1e-5, 1e-1).at(0.5)
('1e-05 to 0.1, logarithmic', 0.001)
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int | float | bool


class Search(ABC):
    """The values to choose one hyper-parameter from."""

    @abstractmethod
    def at(self, position: float) -> Value:
        """Return the value at a position in [0, 1); equal steps cover the values evenly."""

    @abstractmethod
    def __contains__(self, value: object) -> bool: ...


@dataclass(frozen=True)
class Uniform(Search):
    """Any number from ``low`` to ``high``, all equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Check that the range is finite and not empty."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self!r}: low must be less than high, and both be finite")

    def at(self, position: float) -> float:
        """Return the value at a position of the range."""
        return self.low + (self.high - self.low) * position

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Any number from ``low`` to ``high``, equally likely by its logarithm; ``low`` over 0."""

    def __post_init__(self) -> None:
        """Check that the range has a logarithm."""
        super().__post_init__()
        if self.low <= 0:
            raise ValueError(f"{self!r}: low must be over 0")

    def at(self, position: float) -> float:
        """Return the value at a position of the range's logarithm."""
        low, high = math.log(self.low), math.log(self.high)
        return min(max(math.exp(low + (high - low) * position), self.low), self.high)

    def __str__(self) -> str:
        return f"{super().__str__()}, logarithmic"


@dataclass(frozen=True)
class Choice(Search):
    """One of several values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        """Check that there are at least two different values."""
        if len(set(self.values)) < 2 or len(set(self.values)) != len(self.values):
            raise ValueError(f"{self!r}: name at least two values, each once")

    def at(self, position: float) -> Value:
        """Return the value at a position; the values keep their order."""
        return self.values[int(position * len(self.values))]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        words = [f"{value:g}" if isinstance(value, float) else f"{value}" for value in self.values]
        return f"{', '.join(words[:-1])} or {words[-1]}"


Space = Mapping[str, Search]
"""The search of each hyper-parameter, by public name."""


def identity(space: Space) -> str:
    """Return a short hash of a search space, as hexadecimal digits."""
    text = "; ".join(f"{name}: {space[name]!r}" for name in sorted(space))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def described(space: Space) -> dict[str, str]:
    """Return a search space in words, by hyper-parameter."""
    return {name: str(search) for name, search in space.items()}


__all__ = [
    "Choice",
    "LogUniform",
    "Search",
    "Space",
    "Uniform",
    "Value",
    "described",
    "identity",
]
