"""Preprocessing of published weights, for images of a folder."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from ssbench.data.own.settings import DataSettings
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


def fitting(own: Preprocessing, asked: Preprocessing, settings: DataSettings) -> Preprocessing:
    """Return the preprocessing of weights, with what the table ``[data]`` says instead.

    Args:
        own: that of the weights.
        asked: the data set's, as the table asks.
        settings: the table.
    """
    if settings.size != "auto":
        own = replace(own, resize=asked.resize, crop=asked.crop)
    if settings.normalise != "auto":
        own = replace(own, mean=asked.mean, sd=asked.sd)
    return own
