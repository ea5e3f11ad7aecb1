"""The state of a training between two epochs, and what saves it.

A training asks its `Checkpointer` once for a state to resume from, and offers its own state after
every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
NETWORK, _OPTIMISER = "network:", "optimiser:"


@dataclass(frozen=True)
class TrainingState:
    """A training after a finished epoch.

    Attributes:
        tensors: by name, with a prefix for the part.
        facts: everything else, as JSON.
    """

    tensors: Tensors
    facts: dict[str, Any]

    def part(self, prefix: str) -> Tensors:
        """Return the tensors of one part, by name without its prefix."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True)
class ExtraState:
    """State beside network and optimiser that a training changes and saves with them.

    Attributes:
        give: returns the current tensors.
        take: restores tensors that ``give`` returned earlier; they lie on the CPU.
    """

    give: Callable[[], Tensors]
    take: Callable[[Tensors], None]


class Checkpointer:
    """Saves a training between epochs; this base class saves nothing."""

    def resume(self, network: nn.Module) -> TrainingState | None:
        """Return the saved state of a training of this network; None: start from the beginning."""
        del network
        return None

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Enclose the epochs of a training."""
        yield

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        """Save what ``take`` returns, if it is time to."""


UNSAVED = Checkpointer()


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """Return the state of an optimiser, by parameter number and name."""
    found = {}
    for number, parameter in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            if value is not None:
                found[f"{_OPTIMISER}{number}:{name}"] = value
    return found


def restore_optimiser(optimiser: torch.optim.Optimizer, saved: TrainingState) -> None:
    """Restore the state of an optimiser, in the memory format of its parameters.

    Fused optimisers read parameter and state in the order of memory, which ``load_state_dict``
    does not ensure.
    """
    parameters = _parameters(optimiser)
    for key, tensor in saved.part(_OPTIMISER).items():
        number, _, name = key.partition(":")
        parameter = parameters[int(number)]
        alike = tensor.shape == parameter.shape
        place = torch.empty_like(parameter, dtype=tensor.dtype) if alike else None
        value = tensor.to(parameter.device) if place is None else place.copy_(tensor)
        optimiser.state[parameter][name] = value.detach()


def fits(tensors: Mapping[str, Tensor], network: nn.Module) -> bool:
    """Whether saved tensors match this network in every name and shape."""
    expected = {NETWORK + name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {n: tensor.shape for n, tensor in tensors.items() if n.startswith(NETWORK)}
    return found == expected


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
