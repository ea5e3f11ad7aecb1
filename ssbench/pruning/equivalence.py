"""Check that surgery preserves the outputs: run both networks on the same images.

>>> small, difference = compact_certified(model, structure, masks, images)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ssbench.errors import NotFiniteError, RunFailedError
from ssbench.pruning.graph.structure import Structure
from ssbench.pruning.surgery import compact

TOLERANCE = 1e-5
"""Maximum relative difference of the outputs of equivalent networks."""


def certify(masked: nn.Module, compacted: nn.Module, images: Tensor) -> float:
    """Compare two networks in eval mode.

    Both are copied to double precision, so that rounding (and TF32) cannot hide or cause a
    difference.

    Args:
        masked: the network in its dense shapes, its parameters zero wherever ``held`` says so.
        compacted: the network after surgery.
        images: inputs of both, [N, C, H, W].

    Returns:
        The largest absolute difference of outputs, relative to max(1, largest absolute output).

    Raises:
        NotFiniteError: an output is not finite.
        RunFailedError: the shapes of the smaller network do not fit together.
    """
    expected = _outputs(masked, images, [])
    under_way: list[str] = []
    try:
        result = _outputs(compacted, images, under_way)
    except RuntimeError as error:
        raise RunFailedError(
            f"the network after surgery cannot be run: {under_way[-1]}: {error}"
        ) from error
    if not (expected.isfinite().all() and result.isfinite().all()):
        raise NotFiniteError("an output of the network is not finite")
    scale = max(1.0, float(expected.abs().max()))
    return float((expected - result).abs().max()) / scale


def noise(example_shape: Sequence[int], seed: int = 0, count: int = 8) -> Tensor:
    """Draw standard normal images [count, C, H, W]; they activate parts that real ones do not."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, *tuple(example_shape)[-3:]), generator=generator)


def compact_certified(
    model: nn.Module, structure: Structure, masks: Mapping[str, Tensor], images: Tensor
) -> tuple[nn.Module, float]:
    """Call ``compact`` and check the result with ``certify``.

    Args:
        model: as for ``compact``.
        structure: as for ``compact``.
        masks: as for ``compact``.
        images: inputs to compare the networks on, [N, C, H, W].

    Returns:
        The smaller network, and the difference from ``certify``.

    Raises:
        RunFailedError: the outputs differ by more than ``TOLERANCE``.
    """
    network = compact(model, structure, masks)
    difference = certify(model, network, images)
    if difference > TOLERANCE:
        raise RunFailedError(
            f"surgery changed the outputs of {type(model).__name__} by {difference:.1e} "
            f"(allowed: {TOLERANCE:.0e}); were the parameters set to zero as held() says?"
        )
    return network, difference


def _outputs(model: nn.Module, images: Tensor, under_way: list[str]) -> Tensor:
    """Run a copy of a network; the modules under way are those around an operation that fails."""
    network = copy.deepcopy(model).eval().double()
    for name, module in network.named_modules():
        said = f"{name or 'forward()'} ({type(module).__name__})"
        module.register_forward_pre_hook(lambda *_, said=said: under_way.append(said))
        module.register_forward_hook(lambda *_: _left(under_way))
    with torch.no_grad():
        result: Tensor = network(images.double().to(next(network.parameters()).device))
    return result


def _left(under_way: list[str]) -> None:
    under_way.pop()
