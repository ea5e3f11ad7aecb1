"""ssbench: neural-network pruning methods head to head.

>>> ssbench run bench/quickstart.toml      # from a shell: train, prune, finetune, count, report
"""

__version__ = "0.1.0"
