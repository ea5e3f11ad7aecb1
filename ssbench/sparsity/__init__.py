"""From scores to masks: how much is kept, of what, and where.

Only budgets are imported here, as an experiment is read without torch; for the rest see
`ssbench.sparsity.select`.
"""

from ssbench.sparsity.budget import Budget, Unit

__all__ = ["Budget", "Unit"]
