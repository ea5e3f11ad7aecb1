"""The command line in this process, and a small experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TINY = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = [0.5, 0.1], protection = 0.0 }
train = { epochs = 1, lr = 0.05, schedule = "one-cycle" }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle" }
methods = [{ name = "dense" }, { name = "magnitude", grain = "connection" }]
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Invoke = Callable[..., Ended]
