"""Ways to carry out a plan: stage after stage in this process, side by side, or jointly."""

from ssbench.executors.devices import Team
from ssbench.executors.hand import Observer, Outcome
from ssbench.executors.local import execute
from ssbench.executors.parallel import Process, execute_side_by_side
from ssbench.executors.worker import Setup

__all__ = ["Observer", "Outcome", "Process", "Setup", "Team", "execute", "execute_side_by_side"]
