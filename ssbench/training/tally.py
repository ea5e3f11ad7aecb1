"""The result of an epoch, and the sums it comes from."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ssbench.errors import DivergedError


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch; error in percent, loss per image (cross-entropy)."""

    number: int
    of: int
    loss: float
    error: float
    images_per_second: float


class Tally:
    """Sums over an epoch, kept on the device so that no step waits for it.

    Attributes:
        loss: summed over the images, and ``wrong`` the number of images with a wrong answer.
        images: the number of images.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, dtype=torch.double, device=device)
        self.begin()

    def begin(self) -> None:
        """Start an epoch."""
        self.began = time.perf_counter()
        self._sums.zero_()
        self.loss: Tensor | float = self._sums[0]
        self.wrong: Tensor | float = self._sums[1]
        self.images = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, own: int) -> None:
        """Add a batch's mean loss and logits; only the first ``own`` images count."""
        self._sums[0].add_(loss.double() * own)
        self._sums[1].add_((logits.argmax(1) != labels)[:own].sum())

    def state(self) -> list[Tensor]:
        """Return the tensors that `add` changes."""
        return [self._sums]

    def epoch(self, number: int, of: int) -> Epoch:
        """Return the result; waits for the device.

        Raises:
            DivergedError: the loss is not finite.
        """
        loss = float(self.loss) / self.images
        if not math.isfinite(loss):
            raise DivergedError(loss, number, of)
        error = 100 * float(self.wrong) / self.images
        return Epoch(number, of, loss, error, self.images / (time.perf_counter() - self.began))
