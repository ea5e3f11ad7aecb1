"""From scores to masks: how much is kept, of what, and where.

Selection is imported from `ssbench.sparsity.select`: who only reads an experiment needs no torch.
"""

from ssbench.sparsity.budget import Budget, Unit

__all__ = ["Budget", "Unit"]
