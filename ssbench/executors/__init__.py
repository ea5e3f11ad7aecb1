"""Ways to carry out a plan. So far one: stage after stage, in this process."""

from ssbench.executors.local import Observer, Outcome, execute

__all__ = ["Observer", "Outcome", "execute"]
