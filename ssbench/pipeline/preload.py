"""What every worker needs, imported once by the server that workers are forked from.

Some libraries are imported when they are first used; in each worker that would take seconds.
Nothing is computed here: a fork has no threads but the one that forks.
"""

from importlib import import_module

from ssbench.pruning.lazy_imports import flop_count_analysis, torch_pruning

flop_count_analysis()
torch_pruning()
import_module("torch._dynamo")  # torch does so when the first optimiser is made
