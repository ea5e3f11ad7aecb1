"""Check a method's scores before selecting units by them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssbench.errors import RunFailedError
from ssbench.pruning.graph.layers import Layer
from ssbench.pruning.graph.structure import Structure

LARGEST = 1e300
"""Means of larger scores could exceed double precision."""
_SINGLE = (torch.float32, torch.float16, torch.bfloat16, torch.bool)
"""Types whose values single precision holds exactly."""
Shapes = Mapping[str, torch.Size]


def checked(
    scores: object, structure: Structure, shapes: Shapes, grain: str, leaves_out: str
) -> dict[str, Tensor]:
    """Check all scores of a method.

    Args:
        scores: the method's result.
        structure: of the plain network.
        shapes: of the plain network's parameters, by name.
        grain: the unit of one score, as the method declares it.
        leaves_out: the prunable layers that may lack scores, in words; empty: none.

    Returns:
        The scores as `real` returns them.

    Raises:
        RunFailedError: names the layer, what is wrong and the remedy.
    """
    if not isinstance(scores, Mapping) or not all(isinstance(s, Tensor) for s in scores.values()):
        raise RunFailedError("scores must be a dict of tensors by weight name; return one")
    layers = {layer.weight: layer for layer in structure.weighted}
    for name, score in scores.items():
        check_one(name, score, layers, shapes)
        wanted = _shapes_of(grain, shapes[name])
        if tuple(score.shape) not in wanted:
            raise RunFailedError(
                f"scores of {name} have shape {list(score.shape)}; one score for each {grain}, as "
                f"the method declares it, has {' or '.join(str(list(each)) for each in wanted)}"
            )
    asked = structure.layers if grain == "filter" else structure.weighted
    prunable = [layer.weight for layer in asked if not layer.is_output]
    lacking = [name for name in prunable if name not in scores]
    if lacking and not leaves_out:
        raise RunFailedError(
            f"scores lack {', '.join(lacking[:3])}{' and others' if len(lacking) > 3 else ''}: "
            "layers without scores are never pruned; score every prunable layer, or name those "
            "without scores in the method's class variable leaves_out"
        )
    checked_scores = real(scores)
    if not any(bool((score > -torch.inf).any()) for score in checked_scores.values()):
        raise RunFailedError(
            f"all scores are minus infinity, those of {next(iter(scores), 'no layer')} first; give "
            "finite ones, so that one unit is worth more than another"
        )
    return checked_scores


def check_one(name: str, score: Tensor, layers: Mapping[str, Layer], shapes: Shapes) -> None:
    """Check the scores of one weight.

    Raises:
        RunFailedError: names the weight, what is wrong and the remedy.
    """
    if name not in layers:
        raise RunFailedError(
            f"scores name {name!r}, which is not the weight of a convolution or linear layer"
        )
    shape = shapes[name]
    fits = score.dim() == len(shape) and all(
        have in (1, want) for have, want in zip(score.shape, shape, strict=True)
    )
    if not fits:
        raise RunFailedError(
            f"scores of {name} have shape {list(score.shape)}, which does not broadcast over "
            f"the weight's {list(shape)}"
        )
    if layers[name].is_output and score.shape[0] != 1:
        raise RunFailedError(f"scores of {name} would prune the outputs of the network")
    if score.is_complex() or score.is_quantized or score.layout != torch.strided or score.is_meta:
        kind = f"{score.dtype}, {score.layout}, on {score.device}".replace("torch.", "")
        raise RunFailedError(
            f"scores of {name} are not plain real numbers ({kind}); give their magnitudes, or a "
            "dense tensor of floats"
        )
    if torch.isnan(score).any():
        raise RunFailedError(f"scores of {name} contain NaN; give a number for each unit")
    if torch.isposinf(score).any():
        raise RunFailedError(
            f"scores of {name} contain infinity; give units that must stay the largest finite score"
        )
    _check_size(name, score)


def _check_size(name: str, score: Tensor) -> None:
    if score.dtype in _SINGLE:
        return
    most = LARGEST if score.is_floating_point() else 2.0**53
    finite = score.double().masked_fill(score == -torch.inf, 0.0)
    if finite.numel() and (reached := float(finite.abs().max())) > most:
        raise RunFailedError(
            f"scores of {name} reach {reached:.3g}, more than {most:.3g}, where double precision "
            "ends; divide all scores by the same number"
        )


def real(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return scores as floats, detached and on the CPU; different scores stay different.

    They are float32 if that holds all values exactly (as it does integers below 2^24), else
    float64.
    """
    plain = {name: score.detach().cpu() for name, score in scores.items()}
    exact = all(_single(score) for score in plain.values())
    dtype = torch.float32 if exact else torch.float64
    return {name: score.to(dtype) for name, score in plain.items()}


def _single(score: Tensor) -> bool:
    """Whether single precision holds all of a score's values."""
    if score.dtype in _SINGLE:
        return True
    return torch.equal(score.float().double(), score.double())


def _shapes_of(grain: str, weight: torch.Size) -> list[tuple[int, ...]]:
    """Return the allowed shapes of one grain's scores for a weight [out, in/groups, ...]."""
    ones = (1,) * (len(weight) - 2)
    if grain == "connection":
        return [(*weight[:2], *ones)]
    if grain == "filter":
        return [(weight[0], 1, *ones), (1, weight[1], *ones)]
    return [tuple(weight)]
