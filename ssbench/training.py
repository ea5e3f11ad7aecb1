"""The one training loop: training, sparse training and finetuning differ only in what is passed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ssbench.data.batches import Batches
from ssbench.data.loader import batch_sizes
from ssbench.errors import RunFailedError
from ssbench.precision import forward, products
from ssbench.recipe import ParameterGroup, Recipe
from ssbench.seeds import derive
from ssbench.spread import Alone


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a stage gave; errors in percent, loss per image (cross-entropy)."""

    number: int
    of: int
    loss: float
    error: float
    images_per_second: float


@dataclass(frozen=True)
class Trained:
    """What a whole stage gave: the last epoch's loss, and wall-clock seconds."""

    loss: float
    seconds: float
    penalty_seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Hooks:
    """How one training differs from another; ``spread`` knows of those that train jointly."""

    groups: list[ParameterGroup] = field(default_factory=list)
    penalty: Callable[[], Tensor | None] = lambda: None
    after_step: Callable[[float], None] = lambda _: None
    spread: Alone = field(default_factory=Alone)


Listener = Callable[[Epoch], None]


def train(
    model: nn.Module, recipe: Recipe, loader: Batches, seed: int, hooks: Hooks, listen: Listener
) -> Trained:
    """Train in place for ``recipe.epochs`` epochs.

    The batch order and the augmentation depend on ``seed`` alone; the global generator (which
    gates may draw from) is left to the caller.

    Raises:
        RunFailedError: the loss of an epoch is not finite.
    """
    course = _Course(model, recipe, loader, hooks)
    generators = [torch.Generator().manual_seed(derive(seed, p)) for p in ("order", "augmentation")]
    began, epoch = time.perf_counter(), None
    model.train()
    for number in range(1, recipe.epochs + 1):
        with products(recipe.precision):
            tally = course.epoch(loader.shuffled(*generators))
        epoch = tally.epoch(number, recipe.epochs)
        listen(epoch)
    assert epoch is not None  # noqa: S101 -- a recipe has at least one epoch
    seconds = time.perf_counter() - began
    rate = recipe.epochs * len(loader.split) / seconds
    return Trained(epoch.loss, seconds, course.penalty_seconds, rate)


class _Course:
    """The steps of one training; none of them waits for the device."""

    def __init__(self, model: nn.Module, recipe: Recipe, loader: Batches, hooks: Hooks) -> None:
        self.recipe, self.hooks, self.spread = recipe, hooks, hooks.spread
        self.optimiser = _optimiser(model, recipe, hooks.groups)
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.sizes = batch_sizes(len(loader.split), recipe.batch_size)
        self.steps = recipe.epochs * len(self.sizes)
        self.done, self.penalty_seconds = 0, 0.0
        device = next(model.parameters()).device
        network = self.spread.network(model)
        self.forward = forward(network, device, recipe.precision, compiled=recipe.compile)

    def epoch(self, batches: Iterator[tuple[Tensor, Tensor]]) -> _Tally:
        """Take one step for each batch."""
        tally = _Tally()
        for images, labels in self.spread.batches(batches, self.sizes):
            factor = self.recipe.rate(self.done / self.steps)
            for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            tally.add(*self._step(images, labels), labels, self.spread.own(labels))
            self.done += 1
            self.hooks.after_step(self.done / self.steps)
        self.spread.close(tally)
        return tally

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss without the penalty, and the logits, both without a graph."""
        logits = self.forward(images)
        loss = F.cross_entropy(logits, labels)
        began = time.perf_counter()
        penalty = self.hooks.penalty()
        self.penalty_seconds += time.perf_counter() - began
        self.optimiser.zero_grad()
        self.spread.backward(loss if penalty is None else loss + penalty)
        self.optimiser.step()
        return loss.detach(), logits.detach()


def hold(model: nn.Module, held: Mapping[str, Tensor]) -> Callable[[float], None]:
    """Make an ``after_step`` that keeps parameters at zero wherever ``held`` is False.

    Args:
        model: the network; weights may be parametrized.
        held: boolean, by parameter name of the plain network, in the parameter's shape.
    """
    plain = dict(model.named_parameters())
    names = [name for name in held if name in plain]
    parameters = [plain[name].data for name in names]
    masks = [
        held[name].to(parameter).contiguous(memory_format=_format(parameter))
        for name, parameter in zip(names, parameters, strict=True)
    ]
    rewritten = [(*_owner(model, name), mask) for name, mask in held.items() if name not in plain]

    def after_step(_: float) -> None:
        if parameters:
            torch._foreach_mul_(parameters, masks)
        for module, name, mask in rewritten:
            _hold_parametrized(module, name, mask)

    return after_step


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    owner, _, own = name.rpartition(".")
    return model.get_submodule(owner), own


def _hold_parametrized(module: nn.Module, name: str, mask: Tensor) -> None:
    """Set to zero what a parametrization makes, by the values that it gives to zeros itself."""
    parametrizations = module.get_submodule("parametrizations")
    parts = parametrizations.get_submodule(name)
    assert isinstance(parts, parametrize.ParametrizationList)  # noqa: S101 -- torch makes no other
    with torch.no_grad():
        inverse = cast("Callable[[Tensor], Any]", parts[0].right_inverse)
        zeros = inverse(torch.where(mask, getattr(module, name), 0.0))
        originals = [p for key, p in parts.named_parameters() if key.startswith("original")]
        for original, zero in zip(
            originals, zeros if isinstance(zeros, tuple | list) else [zeros], strict=True
        ):
            dims = tuple(d for d in range(mask.dim()) if original.shape[d] == 1 < mask.shape[d])
            alive = mask.any(dims, keepdim=True) if dims else mask
            original.copy_(torch.where(alive, original, zero))


def _format(parameter: Tensor) -> torch.memory_format:
    return torch.channels_last if parameter.dim() == 4 else torch.contiguous_format


def _optimiser(
    model: nn.Module, recipe: Recipe, own: list[ParameterGroup]
) -> torch.optim.Optimizer:
    taken = {id(parameter) for group in own for parameter in group.params}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
    groups: list[dict[str, object]] = [{"params": rest}]
    for group in own:
        decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
        rate = recipe.lr * group.lr_scale
        groups.append({"params": group.params, "weight_decay": decay, "lr": rate})
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,  # one pass over all parameters
    )


class _Tally:
    """Sums over an epoch, kept on the device so that no step waits for it."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.loss: Tensor | float = 0.0
        self.wrong: Tensor | float = 0.0
        self.images = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, own: int) -> None:
        """Add a batch's mean loss and logits, of which the first ``own`` images count."""
        self.images += own
        self.loss = self.loss + loss.double() * own
        self.wrong = self.wrong + (logits.argmax(1) != labels)[:own].sum()

    def epoch(self, number: int, of: int) -> Epoch:
        loss = float(self.loss) / self.images
        if not math.isfinite(loss):
            raise RunFailedError(f"diverged: the training loss is {loss} in epoch {number} of {of}")
        error = 100 * float(self.wrong) / self.images
        return Epoch(number, of, loss, error, self.images / (time.perf_counter() - self.began))
