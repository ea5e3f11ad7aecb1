"""ssbench: neural-network pruning methods head to head.

>>> ssbench run bench/quickstart.toml      # from a shell: train, prune, finetune, count, report
>>> ssbench.load("exported/vgg6")          # from Python: a network that `ssbench export` wrote
>>> ssbench.load_results("results")         # records as a pandas table, one row for each run
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssbench.analysis.frame import load_results as load_results
    from ssbench.models.exported import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import torch only for those who load a network, pandas only for those who read results."""
    if name == "load":
        return import_module("ssbench.models.exported").load
    if name == "load_results":
        return import_module("ssbench.analysis.frame").load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
