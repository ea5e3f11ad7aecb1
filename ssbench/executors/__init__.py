"""Ways to carry out a plan: stage after stage, side by side, jointly on several devices, on Ray."""

from ssbench.executors.devices import Team
from ssbench.executors.hand import Observer, Outcome
from ssbench.executors.local import execute
from ssbench.executors.on_ray import RaySetup, execute_on_ray
from ssbench.executors.parallel import Process, execute_side_by_side
from ssbench.executors.worker import Setup

__all__ = [
    "Observer", "Outcome", "Process", "RaySetup", "Setup", "Team", "execute", "execute_on_ray",
    "execute_side_by_side",
]  # fmt: skip
