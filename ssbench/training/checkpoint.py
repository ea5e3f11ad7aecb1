"""What a training is made of between two epochs, and what saves it there.

A training asks its `Saver` once for something to go on from, and offers itself after every epoch.
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
        tensors: all that is made of numbers, by names with a prefix for the part.
        facts: the rest, as JSON can hold it.
    """

    tensors: Tensors
    facts: dict[str, Any]

    def part(self, prefix: str) -> Tensors:
        """The tensors of one part, by their names without its prefix."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


@dataclass(frozen=True)
class ExtraState:
    """What else a training changes beside network and optimiser, and is saved with them.

    Attributes:
        give: returns its tensors as they are now.
        take: takes up those that ``give`` returned once; they lie on the CPU.
    """

    give: Callable[[], Tensors]
    take: Callable[[Tensors], None]


class Checkpointer:
    """Saves a training between its epochs; this one, the base, saves nothing."""

    def resume(self, network: nn.Module) -> TrainingState | None:
        """Return what was saved of a training of this network; None: it begins anew."""
        del network
        return None

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Within it a training goes from epoch to epoch."""
        yield

    def after_epoch(self, number: int, of: int, take: Callable[[], TrainingState]) -> None:
        """Save what ``take`` gives, where that is due."""


UNSAVED = Checkpointer()


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """The state that an optimiser has gathered, by the number of the parameter and its own name."""
    found = {}
    for number, parameter in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            if value is not None:
                found[f"{_OPTIMISER}{number}:{name}"] = value
    return found


def restore_optimiser(optimiser: torch.optim.Optimizer, saved: TrainingState) -> None:
    """Give an optimiser back its state, in the memory format of its parameters.

    Fused optimisers go through parameter and state side by side as they lie in memory, which
    ``load_state_dict`` does not see to.
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
    """Whether saved tensors are those of this network, to the last name and shape."""
    expected = {NETWORK + name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {n: tensor.shape for n, tensor in tensors.items() if n.startswith(NETWORK)}
    return found == expected


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
