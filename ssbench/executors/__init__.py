"""Ways to carry out a plan: stage after stage in this process, or side by side in several."""

from ssbench.executors.hand import Observer, Outcome
from ssbench.executors.local import execute
from ssbench.executors.parallel import execute_side_by_side
from ssbench.executors.worker import Setup

__all__ = ["Observer", "Outcome", "Setup", "execute", "execute_side_by_side"]
