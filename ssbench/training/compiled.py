"""The gradient of a batch as one compiled function: network, loss, penalty and all their gradients.

The function takes parameters, buffers and everything else that lies in memory as arguments. So one
compilation serves all trainings in a process that compute the same on the same shapes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ssbench.errors import RunFailedError, first_line
from ssbench.training.host_state import host_state, restore_host
from ssbench.training.recipe import Precision
from ssbench.training.rng import draws, restore_draws

LIMITS: dict[Precision, float] = {"fp32": 1e-3, "tf32": 5e-2, "bf16": 0.3}
"""Largest relative difference between a compiled gradient and torch's own. Compiled code rounds
less often, and every batch norm on the way back magnifies what rounding leaves."""
MOST = 32
"""Number of compiled functions that a process keeps."""
_functions: dict[str, Callable[..., list[Any]] | str] = {}
"""By what is compiled, the function, or why there is none: a compiler takes long to fail, too."""


class Compiled:
    """Computes loss, logits and gradients of a training's batches by one compiled function.

    Args:
        model: the network, in training mode.
        forward: from images to logits.
        penalty: what a method adds to the loss.
        precision: of the training.
        batch: images [N, C, H, W] and labels [N]; only batches of N images are compiled.

    Raises:
        RunFailedError: what the network or the penalty computes cannot be written as one function,
            or the compiled gradient differs from torch's own.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Tensor], Tensor],
        penalty: Callable[[], Tensor | None],
        precision: Precision,
        batch: tuple[Tensor, Tensor],
    ) -> None:
        self._shape = batch[0].shape
        every = [module for _, module in model.named_modules(remove_duplicate=False)]
        if len(every) != len(set(every)):  # torch would put back other parameters than it took
            raise RunFailedError("a module has two names")
        named = dict(model.named_parameters())
        self._trained = {name: p for name, p in named.items() if p.requires_grad}
        self._fixed = {name: p for name, p in named.items() if not p.requires_grad}
        self._buffers = dict(model.named_buffers())
        self._objective = _Objective(model, forward, penalty)
        graph = self._traced(*batch)
        self._constants = _lift_constants(graph)
        key = _key(graph, [*self._tensors(), *batch, *self._constants], precision)
        self._function = _compiled(graph, key)
        try:
            self._check(*batch, LIMITS[precision])
        except Exception as error:  # a compiler, and what it makes, raise any kind
            reason = first_line(error)
            if not isinstance(error, torch.OutOfMemoryError | MemoryError):
                _functions[key] = reason
            raise RunFailedError(reason) from error

    def takes(self, images: Tensor) -> bool:
        """Whether a batch has the shape that was compiled."""
        return images.shape == self._shape

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Set the gradients; return the loss without the penalty, and the logits."""
        loss, logits, *gradients = self._function(
            *self._tensors(), images, labels, *self._constants
        )
        for parameter, gradient in zip(self._trained.values(), gradients, strict=True):
            parameter.grad = gradient
        return loss, logits

    def _tensors(self) -> list[Tensor]:
        kinds = (self._trained, self._fixed, self._buffers)
        return [tensor.detach() for kind in kinds for tensor in kind.values()]

    def _traced(self, images: Tensor, labels: Tensor) -> fx.GraphModule:
        """Write down what a step computes, by computing it on copies of the buffers."""
        from torch.fx.experimental.proxy_tensor import make_fx

        parameters = len(self._trained) + len(self._fixed)
        names = [*self._trained, *self._fixed, *self._buffers]

        def step(*given: Tensor) -> list[Tensor | None]:
            *tensors, images, labels = given
            for number, tensor in enumerate(tensors[:parameters]):
                trains = number < len(self._trained)
                # A method may ask for a parameter by name, and modules give nothing else out.
                tensors[number] = tensor.detach().requires_grad_(trains)
                tensors[number]._is_param = True
            swapped = {f"model.{name}": t for name, t in zip(names, tensors, strict=True)}
            leaves = tensors[: len(self._trained)]
            found: list[Tensor | None] = torch.func.functional_call(
                self._objective, swapped, (images, labels, leaves)
            )
            return found

        copies = [buffer.detach().clone() for buffer in self._buffers.values()]
        tensors = [*self._tensors()[:parameters], *copies]
        drawn, numbers = draws(images.device), host_state(self._objective.model)
        try:
            return make_fx(step, decomposition_table=_decompositions())(*tensors, images, labels)
        except Exception as error:  # networks and penalties raise any kind
            raise RunFailedError(first_line(error)) from error
        finally:
            restore_draws(drawn, images.device)
            restore_host(self._objective.model, numbers)

    def _check(self, images: Tensor, labels: Tensor, limit: float) -> None:
        """Compare with torch's gradient; leave the network and the generators as they were.

        Raises:
            RunFailedError: a step does something that the compiled function does not.
        """
        parameters = list(self._trained.values())
        numbers = host_state(self._objective.model)
        plain = self._tried(lambda: self._objective(images, labels, parameters))
        if host_state(self._objective.model) != numbers:
            restore_host(self._objective.model, numbers)
            raise RunFailedError("a step changes a number that a module holds")
        now = dict(self._objective.model.named_buffers())
        if any(now.get(name) is not buffer for name, buffer in self._buffers.items()):
            for name, buffer in self._buffers.items():
                owner, _, key = name.rpartition(".")
                setattr(self._objective.model.get_submodule(owner), key, buffer)
            raise RunFailedError("a step puts another tensor in the place of a buffer")

        def compiled() -> list[Tensor | None]:
            loss, logits = self(images, labels)
            return [loss, logits, *(parameter.grad for parameter in parameters)]

        found = self._tried(compiled)
        for what, ours, theirs in zip(
            ("loss", "logits", "gradient", "running statistics"), plain, found, strict=True
        ):
            difference = _difference(ours, theirs)
            if not difference <= limit:
                raise RunFailedError(f"the compiled {what} differs by {100 * difference:.2g} %")

    def _tried(self, compute: Callable[[], list[Tensor | None]]) -> list[list[Tensor | None]]:
        """Return loss, logits, gradients and buffers of a step, and undo it."""
        images = next(iter(self._trained.values()))
        drawn = draws(images.device)
        buffers = [(buffer, buffer.clone()) for buffer in self._buffers.values()]
        try:
            loss, logits, *gradients = compute()
            after: list[Tensor | None] = [buffer.clone() for buffer, _ in buffers]
            return [[loss], [logits], gradients, after]
        finally:
            for buffer, value in buffers:
                buffer.data.copy_(value)
            restore_draws(drawn, images.device)
            for parameter in self._trained.values():
                parameter.grad = None


class _Objective(nn.Module):
    """Computes loss, logits and the gradients of loss and penalty."""

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Tensor], Tensor],
        penalty: Callable[[], Tensor | None],
    ) -> None:
        super().__init__()
        # In a tuple: as an attribute, a network would be a second module with the same parameters.
        self.model, self._parts = model, (forward, penalty)

    def forward(
        self, images: Tensor, labels: Tensor, parameters: Sequence[Tensor]
    ) -> list[Tensor | None]:
        call, price = self._parts
        logits = call(images)
        loss = F.cross_entropy(logits, labels)
        penalty = price()
        whole = loss if penalty is None else loss + penalty
        gradients = torch.autograd.grad(whole, list(parameters), allow_unused=True)
        # Fused optimisers read parameters and gradients in the order of memory.
        laid = [
            None if g is None else g.contiguous(memory_format=_format(p))
            for p, g in zip(parameters, gradients, strict=True)
        ]
        return [loss.detach(), logits.detach(), *laid]


def _format(parameter: Tensor) -> torch.memory_format:
    last = parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _lift_constants(graph: fx.GraphModule) -> list[Tensor]:
    """Turn the tensors that a traced graph holds itself into its last arguments; return them."""
    places = [node for node in graph.graph.nodes if node.op == "placeholder"]
    constants, held = [], set[str]()
    for node in [node for node in graph.graph.nodes if node.op == "get_attr"]:
        constants.append(getattr(graph, node.target).detach())
        held.add(node.target)
        with graph.graph.inserting_after(places[-1]):
            places.append(graph.graph.placeholder(f"constant_{len(constants)}"))
        node.replace_all_uses_with(places[-1])
        graph.graph.erase_node(node)
    for name in held:
        delattr(graph, name)
    graph.recompile()
    return constants


def _key(graph: fx.GraphModule, given: Sequence[Tensor], precision: Precision) -> str:
    """Identify a graph with the shapes and the layout of its arguments."""
    kinds = [(tuple(t.shape), t.stride(), t.dtype, t.device) for t in given]
    return hashlib.sha256(f"{precision}{kinds}{graph.code}".encode()).hexdigest()


def _compiled(graph: fx.GraphModule, key: str) -> Callable[..., list[Any]]:
    """Compile a graph at its first call, unless this process has compiled the same.

    Raises:
        RunFailedError: this process has failed to compile the same.
    """
    if key not in _functions:
        if len(_functions) >= MOST:
            del _functions[next(iter(_functions))]
        # Noise comes from torch's own generators, so that it is that of a step without compilation.
        _functions[key] = torch.compile(graph, dynamic=False, options={"fallback_random": True})
    found = _functions[key]
    if isinstance(found, str):
        raise RunFailedError(found)
    return found


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Batch norms that say that they write their running statistics; torch's own do not."""
    from torch._decomp import decomposition_table

    aten = torch.ops.aten

    def native(*given: Any) -> Any:
        return aten._native_batch_norm_legit(*given)

    def cudnn(images: Tensor, *given: Any) -> Any:
        reserved = images.new_empty(0, dtype=torch.uint8)
        return *aten._native_batch_norm_legit(images, *given), reserved

    back = aten.cudnn_batch_norm_backward.default
    return {
        aten.native_batch_norm.default: native,
        aten.cudnn_batch_norm.default: cudnn,
        back: decomposition_table[back],
    }


def _difference(ours: Sequence[Tensor | None], compiled: Sequence[Tensor | None]) -> float:
    """Return the relative difference of all gradients together; infinite if one is missing."""
    pairs = list(zip(ours, compiled, strict=True))
    if any((one is None) != (other is None) for one, other in pairs):
        return float("inf")
    there = [(a.double(), b.double()) for a, b in pairs if a is not None and b is not None]
    apart = sum(float((one - other).square().sum()) for one, other in there)
    length = sum(float(one.square().sum()) for one, _ in there)
    return math.sqrt(apart / max(length, 1e-300))
