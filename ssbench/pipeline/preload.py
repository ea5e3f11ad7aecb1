"""Import what every worker needs, once, in the server that forks the workers.

Some libraries are imported at first use; that would take seconds in each worker. Nothing is
computed here: a fork keeps only the thread that forked.
"""

from importlib import import_module

from ssbench.pruning.lazy_imports import flop_count_analysis, torch_pruning

flop_count_analysis()
torch_pruning()
import_module("torch._dynamo")  # torch does so when the first optimiser is made
