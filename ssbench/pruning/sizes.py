"""Sizes of networks for records and budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ssbench.pruning.budget import Budget
from ssbench.pruning.counting import Counts, Nonzero, nonzero
from ssbench.pruning.footprint import footprint
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.select import Share
from ssbench.pruning.surgery import zeroed_parameters

Record = dict[str, Any]


def make_share(budget: Budget, plain: nn.Module, dense: Counts) -> Share:
    """Make a function that measures masks in a budget's unit: kept / dense."""
    structure = structure_of(plain)
    whole: int = getattr(dense, budget.unit)

    def share(masks: Mapping[str, Tensor]) -> float:
        kept: int = getattr(
            nonzero(dense, plain, zeroed_parameters(structure, plain, masks)), budget.unit
        )
        return kept / whole

    return share


def sizes(what: str, counts: Counts | Nonzero) -> Record:
    """Return the counts of a network by record key, for instance ``params_dense``."""
    return {f"{unit}_{what}": getattr(counts, unit) for unit in ("params", "connections", "macs")}


def operations(what: str, counts: Counts) -> Record:
    """Return the operations that are not multiply-adds, by record key."""
    return {f"norm_ops_{what}": counts.norm_ops, f"pool_ops_{what}": counts.pool_ops}


def byte_sizes(model: nn.Module, small: nn.Module) -> Record:
    """Return the bytes of a masked network and of its compact form, by record key."""
    compact = footprint(small)
    return {
        "bytes_dense": footprint(model).dense,
        "bytes_compact": compact.dense,
        "bytes_sparse": compact.sparse,
        "bytes_index": compact.index,
    }
