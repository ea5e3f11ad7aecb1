"""From scores to masks: how much is kept, of what, and where."""

from ssbench.sparsity.budget import Budget, Unit
from ssbench.sparsity.select import Selection, least_share, select

__all__ = ["Budget", "Selection", "Unit", "least_share", "select"]
