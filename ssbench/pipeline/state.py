"""The tensors that one stage leaves for the next: weights, zeros and earlier weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

Tensors = dict[str, Tensor]
_HELD, _EARLY = "held:", "early:"


@dataclass(frozen=True)
class State:
    """The tensors of a finished stage.

    Attributes:
        weights: the network's ``state_dict()``; after a training with the method's attachments.
        zeros: boolean, by parameter name of the plain network; False is held at zero.
        early: the weights at the epoch to rewind to; empty if no run asks for them.
    """

    weights: Tensors
    zeros: Tensors = field(default_factory=dict)
    early: Tensors = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> State:
        """Undo ``pack``."""
        parts: dict[str, Tensors] = {"": {}, _HELD: {}, _EARLY: {}}
        for name, tensor in tensors.items():
            mark = next((mark for mark in (_HELD, _EARLY) if name.startswith(mark)), "")
            parts[mark][name.removeprefix(mark)] = tensor
        return cls(parts[""], parts[_HELD], parts[_EARLY])

    def pack(self) -> Tensors:
        """Return one flat mapping for a checkpoint."""
        marked = ((_HELD, self.zeros), (_EARLY, self.early))
        return dict(self.weights) | {m + name: t for m, part in marked for name, t in part.items()}
