"""Preprocessing of published weights, for images of a folder."""

from __future__ import annotations

from typing import get_args

from ssbench.data.preprocessing import Interpolation, Preprocessing
from ssbench.errors import BadInputError
from ssbench.models.pretrained import Published


def preprocessing(weights: Published, place: str) -> Preprocessing:
    """Return the preprocessing with which published weights were evaluated.

    Raises:
        BadInputError: they need an unknown interpolation; names ``place``.
    """
    known: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
    if weights.interpolation not in known:
        raise BadInputError(
            f"{place}: its weights need images resized by {weights.interpolation!r}; ssbench "
            f"has {', '.join(known)}; choose start = 'random'"
        )
    return Preprocessing(
        weights.resize,
        weights.crop,
        known[weights.interpolation],
        weights.mean,
        weights.sd,
    )
