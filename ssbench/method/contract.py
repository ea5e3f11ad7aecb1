"""The contract of a pruning method, and everything that a file in methods/ needs to import.

A method is one frozen, keyword-only dataclass in one file; its fields are its hyper-parameters.

    @dataclass(frozen=True, kw_only=True)
    class Magnitude(Method):
        paper = "Han et al., NeurIPS 2015"
        grain: Grain = "weight"

        def scores(self, model: nn.Module) -> Scores:
            return {w: to_grain(p.abs(), self.grain) for w, p in prunable_weights(model).items()}

State (gates, strengths, masks) lives in the model, which saves and restores it.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Literal, Protocol, get_args

from torch import Tensor, nn

from ssbench.errors import Limit
from ssbench.method.search_space import Search
from ssbench.pruning.budget import Scope
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.structure import structure_of
from ssbench.training.recipe import ParameterGroup

Grain = Literal["weight", "connection", "filter", "none"]
GRAINS: tuple[Grain, ...] = get_args(Grain)
Scores = dict[str, Tensor]
"""By weight name, a tensor that broadcasts over the weight; higher is kept longer."""
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Each call passes once over the training images, in the same random order each time, normalised
and not augmented: pairs of images [N, C, H, W] and labels [N]."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A pruning method: how training differs, and what each unit is worth.

    The harness calls, in this order: ``attach`` (before training), ``parameter_groups``, then at
    every step ``penalty`` and ``after_step``, and once at the prune stage ``scores``, ``detach``.
    A hook may ask for more by naming a keyword-only argument with a default: ``images`` (number
    of training images, int); in ``penalty`` ``weight_decay`` (the recipe's, float); in ``attach``
    ``fresh`` (False if the network was trained before: it starts with published weights, or was
    pruned already; bool); in ``scores`` ``batches`` (see `Batches`) and ``example`` (one image of
    zeros, [1, C, H, W], on the network's device); in ``after_step`` ``pruning`` (see `Pruning`).

    Attributes:
        paper: where the method comes from.
        own_threshold: the method by itself prunes scores at or below it; None: no such point.
        before_training: whether to prune the untrained network and train the rest for all epochs.
        search: the values that ``ssbench tune`` may choose, by public name of a hyper-parameter.
        limits: by public name of a numeric hyper-parameter, its lowest and highest value and the
            reason; other values are refused before training. Not part of stage ids.
        leaves_out: the prunable layers that ``scores`` may leave out, in words; empty: none. They
            are never pruned. Not part of stage ids.
    """

    paper: ClassVar[str] = ""
    own_threshold: ClassVar[float | None] = None
    before_training: ClassVar[bool] = False
    search: ClassVar[Mapping[str, Search]] = {}
    limits: ClassVar[Mapping[str, Limit]] = {}
    leaves_out: ClassVar[str] = ""

    @property
    @abstractmethod
    def grain(self) -> Grain:
        """The unit of one score; "none" if the method prunes nothing."""

    @property
    def scope(self) -> Scope:
        """How the authors prune: one threshold for the network, or the same share of every layer.

        An experiment's budget may override it.
        """
        return "global"

    @property
    def rounds(self) -> int:
        """How many times one prune stage scores and prunes, to shares in geometric progression.

        A method that offers it as a hyper-parameter has a field of this name.
        """
        return 1

    def attach(self, model: nn.Module) -> None:
        """Add gates or strengths to the freshly initialised model, in place.

        With several passes, also to a pruned model: its zeros stay zero.
        """

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup]:
        """Return the parameters that the recipe's optimiser settings do not fit (default: none)."""
        del model
        return []

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return a scalar to add to the mean loss of every batch (default: nothing)."""
        del model
        return None

    def after_step(self, model: nn.Module, progress: float) -> None:
        """Clamp or update state after an optimiser step; ``progress`` runs from 0 to 1."""

    @abstractmethod
    def scores(self, model: nn.Module) -> Scores:
        """Score every prunable unit; the shape of a score is the grain.

        For a convolution's weight [out, in/groups, h, w]: the same shape (weight),
        [out, in/groups, 1, 1] (connection), [out, 1, 1, 1] or [1, in/groups, 1, 1] (filter).
        Any real dtype; minus infinity if a unit costs nothing to lose. Every prunable layer
        needs scores, unless ``leaves_out`` says which ones do not.
        """

    def detach(self, model: nn.Module) -> None:
        """Fold what ``attach`` added: a plain network, same names, same function in eval mode."""

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters by their public names (``lambda`` for the field ``lambda_``)."""
        return {f.name.rstrip("_"): getattr(self, f.name) for f in fields(self)}

    @classmethod
    def changes_training(cls) -> bool:
        """Whether training differs from plain training; if not, one dense training serves all."""
        hooks = ("attach", "parameter_groups", "penalty", "after_step")
        return any(getattr(cls, hook) is not getattr(Method, hook) for hook in hooks)


HOOKS = ("attach", "parameter_groups", "penalty", "after_step", "scores", "detach")
FACTS = dict.fromkeys(("images", "weight_decay", "fresh", "batches", "example", "pruning"))
"""The keyword-only arguments that a hook may ask for, see `Method`."""


class Pruning(Protocol):
    """Lets ``after_step`` prune during training; pruned units stay pruned."""

    @property
    def kept(self) -> float:
        """The share of the budget's unit to keep in the end."""

    def to(self, kept: float) -> None:
        """Prune by the method's own ``scores`` until this share of the budget's unit is left."""


@cache
def _named(hook: Callable[..., Any]) -> frozenset[str]:
    """Return the arguments of a hook; cached, as hooks run at every step."""
    return frozenset(inspect.signature(hook).parameters)


def wants(hook: Callable[..., Any], fact: str) -> bool:
    """Whether a method's hook names a fact as an argument."""
    return fact in _named(getattr(hook, "__func__", hook))


def offer(hook: Callable[..., Any], model: nn.Module, **facts: object) -> Any:
    """Call a method's hook with the ``facts`` that its signature names."""
    named = _named(getattr(hook, "__func__", hook))
    return hook(model, **{name: fact for name, fact in facts.items() if name in named})


def prunable_layers(model: nn.Module) -> tuple[Layer, ...]:
    """Return all convolutions and linear layers except the output layer, in call order."""
    return structure_of(model).prunable


def module_of(model: nn.Module, layer: Layer) -> nn.Conv2d | nn.Linear:
    """Return the module of a layer."""
    module = model.get_submodule(layer.name)
    assert isinstance(module, nn.Conv2d | nn.Linear)  # Structure has no other kind
    return module


def prunable_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of `prunable_layers` by name, detached."""
    return {
        layer.weight: module_of(model, layer).weight.detach() for layer in prunable_layers(model)
    }


def to_grain(values: Tensor, grain: Grain) -> Tensor:
    """Sum non-negative values, in a weight's shape, over each unit of the grain.

    Mao et al. 2017 score a block of weights by the sum of their magnitudes.
    """
    first = {"connection": 2, "filter": 1}.get(grain, values.dim())
    dims = tuple(range(first, values.dim()))
    return values.sum(dims, keepdim=True) if dims else values
