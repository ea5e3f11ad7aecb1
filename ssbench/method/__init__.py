"""What a pruning method is: everything that a file in methods/ needs to import.

`contract` is the class that a method extends; `registry` finds methods; `describe` lists them;
`search_space` is what ``ssbench tune`` chooses among. Each name is imported on first use, so that
listing methods needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssbench.errors import Limit as Limit
    from ssbench.method.contract import GRAINS as GRAINS
    from ssbench.method.contract import Batches as Batches
    from ssbench.method.contract import Grain as Grain
    from ssbench.method.contract import Method as Method
    from ssbench.method.contract import Pruning as Pruning
    from ssbench.method.contract import Scores as Scores
    from ssbench.method.contract import module_of as module_of
    from ssbench.method.contract import offer as offer
    from ssbench.method.contract import prunable_layers as prunable_layers
    from ssbench.method.contract import prunable_weights as prunable_weights
    from ssbench.method.contract import to_grain as to_grain
    from ssbench.method.contract import wants as wants
    from ssbench.method.filter_groups import group_importance as group_importance
    from ssbench.method.loss_gradients import balanced as balanced
    from ssbench.method.loss_gradients import gradients as gradients
    from ssbench.method.loss_gradients import scratch_copy as scratch_copy
    from ssbench.method.loss_gradients import weights_of as weights_of
    from ssbench.method.norms import kernel_norms as kernel_norms
    from ssbench.method.search_space import Choice as Choice
    from ssbench.method.search_space import LogUniform as LogUniform
    from ssbench.method.search_space import Search as Search
    from ssbench.method.search_space import Uniform as Uniform
    from ssbench.pruning.budget import Scope as Scope
    from ssbench.pruning.graph.layers import Layer as Layer
    from ssbench.pruning.graph.structure import Structure as Structure
    from ssbench.pruning.graph.structure import structure_of as structure_of
    from ssbench.pruning.lazy_imports import torch_pruning as torch_pruning
    from ssbench.training.recipe import ParameterGroup as ParameterGroup

_HOME = {
    "ssbench.errors": ("Limit",),
    "ssbench.method.contract": (
        "Batches",
        "GRAINS",
        "Grain",
        "Method",
        "Pruning",
        "Scores",
        "module_of",
        "offer",
        "prunable_layers",
        "prunable_weights",
        "to_grain",
        "wants",
    ),
    "ssbench.method.loss_gradients": ("balanced", "gradients", "scratch_copy", "weights_of"),
    "ssbench.method.filter_groups": ("group_importance",),
    "ssbench.method.norms": ("kernel_norms",),
    "ssbench.method.search_space": ("Choice", "LogUniform", "Search", "Uniform"),
    "ssbench.pruning.budget": ("Scope",),
    "ssbench.pruning.graph.layers": ("Layer",),
    "ssbench.pruning.graph.structure": ("Structure", "structure_of"),
    "ssbench.pruning.lazy_imports": ("torch_pruning",),
    "ssbench.training.recipe": ("ParameterGroup",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "GRAINS",
    "Batches",
    "Choice",
    "Grain",
    "Layer",
    "Limit",
    "LogUniform",
    "Method",
    "ParameterGroup",
    "Pruning",
    "Scope",
    "Scores",
    "Search",
    "Structure",
    "Uniform",
    "balanced",
    "gradients",
    "group_importance",
    "kernel_norms",
    "module_of",
    "offer",
    "prunable_layers",
    "prunable_weights",
    "scratch_copy",
    "structure_of",
    "to_grain",
    "torch_pruning",
    "wants",
    "weights_of",
]


def __getattr__(name: str) -> object:
    """Import the module that defines a name.

    Raises:
        AttributeError: the contract has no such name.
    """
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
