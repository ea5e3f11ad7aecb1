"""The learning rates and the progress of every step, where the optimiser reads them.

On a GPU they lie in device memory, with the number of the step: a step that was recorded once reads
the right values each time it is replayed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Clock:
    """Sets the learning rates of the steps of a training.

    Args:
        optimiser: its groups hold the recipe's learning rates when the clock is made.
        factor: the factor of the learning rates at each progress of the training from 0 to 1.
        steps: number of steps of the training, and ``of_epoch`` of one epoch.
        device: of the parameters.
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        factor: Callable[[float], float],
        steps: int,
        of_epoch: int,
        device: torch.device,
    ) -> None:
        self._groups = optimiser.param_groups
        self._bases = [float(group["lr"]) for group in self._groups]
        self._factor, self._steps, self._of_epoch = factor, steps, of_epoch
        on_gpu = device.type == "cuda"
        self._on_device = _OnDevice(len(self._bases), of_epoch, device) if on_gpu else None
        self.done = 0

    def begin(self, done: int) -> None:
        """Start an epoch after ``done`` steps."""
        self.done = done
        if self._on_device:
            numbers = range(done, done + self._of_epoch)
            factors = [self._factor(number / self._steps) for number in numbers]
            rates = [[base * factor for base in self._bases] for factor in factors]
            self._on_device.fill(rates, [(n + 1) / self._steps for n in numbers])

    def set_rates(self) -> None:
        """Give the optimiser the rates of the current step."""
        if self._on_device:
            rates = self._on_device.rates()
            for group, rate in zip(self._groups, rates, strict=True):
                group["lr"] = rate
            return
        factor = self._factor(self.done / self._steps)
        for group, base in zip(self._groups, self._bases, strict=True):
            group["lr"] = base * factor

    def advance(self) -> Tensor | None:
        """On a GPU go on to the next step there, and return the progress after this one."""
        return self._on_device.advance() if self._on_device else None

    def advance_host(self) -> float:
        """Count a step on the host; return the progress after it, from 0 to 1."""
        self.done += 1
        return self.done / self._steps

    def state(self) -> list[Tensor]:
        """Return the tensors that a step changes."""
        return self._on_device.state() if self._on_device else []


class _OnDevice:
    def __init__(self, groups: int, steps: int, device: torch.device) -> None:
        self._table = torch.zeros(steps, groups, device=device)
        self._progress = torch.zeros(steps, dtype=torch.double, device=device)
        self._at = torch.zeros(1, dtype=torch.long, device=device)
        self._now = torch.zeros(groups, device=device)

    def fill(self, rates: list[list[float]], progress: list[float]) -> None:
        self._table.copy_(torch.tensor(rates))
        self._progress.copy_(torch.tensor(progress, dtype=torch.double))
        self._at.zero_()

    def rates(self) -> list[Tensor]:
        self._now.copy_(self._table.index_select(0, self._at)[0])
        return list(self._now.unbind())

    def advance(self) -> Tensor:
        progress = self._progress.index_select(0, self._at)[0]
        self._at.add_(1)
        return progress

    def state(self) -> list[Tensor]:
        return [self._at, self._now]
