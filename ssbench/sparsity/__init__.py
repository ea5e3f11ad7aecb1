"""From scores to masks: how much is kept, of what, and where."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ssbench.sparsity.budget import Budget, Unit

if TYPE_CHECKING:
    from ssbench.sparsity.select import Selection, least_share, select

__all__ = ["Budget", "Selection", "Unit", "least_share", "select"]


def __getattr__(name: str) -> object:
    """Import torch only for those who select, not for those who read an experiment."""
    if name in __all__:
        return getattr(import_module("ssbench.sparsity.select"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
