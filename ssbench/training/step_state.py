"""The state that a training step changes: saved, restored and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssbench.data.batches import Feed
from ssbench.training.backward import Backward
from ssbench.training.clock import Clock
from ssbench.training.distributed.single import SingleProcess
from ssbench.training.host_state import host_state
from ssbench.training.rng import Draws, draws, restore_draws
from ssbench.training.tally import Tally

CLOSE = 1e-3
"""Largest relative difference of two states that count as close."""


@dataclass
class Parts:
    """What a step consists of.

    Attributes:
        records_after_step: whether ``after_step`` may be recorded: it keeps no state in Python.
    """

    model: nn.Module
    feed: Feed
    clock: Clock
    backward: Backward
    optimiser: torch.optim.Optimizer
    tally: Tally
    spread: SingleProcess
    after_step: Callable[[float], None]
    records_after_step: bool
    device: torch.device


@dataclass(frozen=True)
class Saved:
    """A state: values of tensors, keys of the optimiser, generators, what Python holds."""

    tensors: list[tuple[Tensor, Tensor]]
    states: dict[Tensor, set[str]]
    drawn: Draws
    numbers: dict[str, Any]


class Fingerprint(NamedTuple):
    """Places of the state and of tensors that modules hold, what trains, and what Python holds."""

    places: list[int]
    held: list[int]
    trains: list[bool]
    numbers: dict[str, Any]


class StepState:
    """The state of the steps of one training."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def _tensors(self) -> list[Tensor]:
        """All that a step changes."""
        parts = self._parts
        optimiser = [
            value
            for state in parts.optimiser.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        model = (*parts.model.parameters(), *parts.model.buffers())
        network = [tensor.detach() for tensor in model]
        others = (*parts.feed.state(), *parts.clock.state(), *parts.tally.state())
        return [*network, *optimiser, *others]

    def save(self) -> Saved:
        """Copy the state."""
        parts = self._parts
        return Saved(
            [(tensor, tensor.clone()) for tensor in self._tensors()],
            {parameter: set(state) for parameter, state in parts.optimiser.state.items()},
            draws(parts.device),
            host_state(parts.model),
        )

    def restore(self, saved: Saved) -> None:
        """Go back to a saved state, apart from what Python holds."""
        states = self._parts.optimiser.state
        for parameter in list(states):
            for name in set(states[parameter]) - saved.states.get(parameter, set()):
                del states[parameter][name]
            if parameter not in saved.states:
                del states[parameter]
        for tensor, value in saved.tensors:
            tensor.copy_(value)
        restore_draws(saved.drawn, self._parts.device)

    def equals(self, saved: Saved, *, exact: bool) -> bool:
        """Whether the state is what was saved: in every bit, or closely."""
        now = draws(self._parts.device)
        tensors = self._tensors()
        return (
            len(tensors) == len(saved.tensors)
            and all(
                alike(t, v, exact=exact) for t, (_, v) in zip(tensors, saved.tensors, strict=True)
            )
            and all(torch.equal(state, saved.drawn[name]) for name, state in now.items())
        )

    def fingerprint(self) -> Fingerprint:
        """What a recorded step reads besides the values in memory."""
        parts = self._parts
        model = parts.model
        held = [
            value.data_ptr()
            for module in model.modules()
            for value in vars(module).values()
            if isinstance(value, Tensor)
        ]
        places = [tensor.data_ptr() for tensor in self._tensors()]
        trains = [parameter.requires_grad for parameter in model.parameters()]
        return Fingerprint(places, held, trains, host_state(model))


def check_host(before: Saved, after: Saved) -> None:
    """Check that a step changed nothing on the host.

    Raises:
        RuntimeError: names what it changed.
    """
    names = before.numbers.keys() | after.numbers
    changed = sorted(n for n in names if before.numbers.get(n) != after.numbers.get(n))
    if changed:
        raise RuntimeError(f"a step changes {changed[0]}, which lies on the host")
    if not torch.equal(before.drawn["cpu"], after.drawn["cpu"]):
        raise RuntimeError("a step draws random numbers on the host")


def alike(one: Tensor, other: Tensor, *, exact: bool) -> bool:
    """Whether two tensors are equal, where both are not a number too; or else close."""
    if exact:
        return bool(((one == other) | ((one != one) & (other != other))).all())
    one, other = one.double(), other.double()
    return bool((one - other).norm() <= CLOSE * other.norm())
