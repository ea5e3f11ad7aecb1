"""Make a `DataSet` of images of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ssbench.data.dataset import Augmentation, DataSet, Normalisation, Split
from ssbench.data.image_folder import Files
from ssbench.data.own.measured import measured
from ssbench.data.own.settings import DataSettings, Request, Scale, key_of
from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.errors import BadInputError

CROPPED = Augmentation(1, True)
"""The standard augmentation of images on disk: a random crop, mirrored."""
SHIFTED = 8
"""In memory, images are shifted by up to this part of their shorter side: CIFAR's 4 of 32."""


@dataclass(frozen=True)
class Parts:
    """Three splits of one's own.

    Attributes:
        classes: their names.
        facts: how they were prepared, as plain JSON, for records.
        remarks: what a user should know, each in one line.
        places: files and folders that hold the test images and need not be read any more.
        origin: the files that images in memory were decoded from.
    """

    classes: Sequence[str]
    train: Split | Files
    validation: Split | Files
    test: Split | Files
    facts: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    places: tuple[Path, ...] = ()
    origin: tuple[Files, Files, Files] | None = None


def assemble(request: Request, parts: Parts) -> DataSet:
    """Make the data set, with its normalisation and standard augmentation.

    Raises:
        BadInputError: the normalisation does not fit the images.
    """
    on_disk = isinstance(parts.train, Files)
    _, *size = parts.train.image_shape
    made = DataSet(
        request.name,
        len(parts.classes),
        parts.train,
        parts.validation,
        parts.test,
        CROPPED if on_disk else Augmentation(min(size) // SHIFTED, True),
        remarks=parts.remarks,
        names=tuple(parts.classes),
        places=parts.places,
        origin=parts.origin,
        facts={"memory": not on_disk, **parts.facts},
    )
    return normalised(made, request.settings, request.place)


def normalised(dataset: DataSet, settings: DataSettings, place: str) -> DataSet:
    """Return the data set with the normalisation that ``data.normalise`` asks for.

    Raises:
        BadInputError: it does not fit the images.
    """
    asked = settings.normalise
    if isinstance(dataset.train, Files):
        how = dataset.train.preprocessing
        if asked == "measured":
            mean, sd = measured(dataset.train)
            return dataset.prepared(replace(how, mean=mean, sd=sd))
        if isinstance(asked, Scale):
            _same_channels(asked, dataset, place)
            how = replace(how, mean=tuple(asked.mean), sd=tuple(asked.sd))
        return dataset.prepared(how)
    if asked in ("auto", "measured"):
        return dataset
    scale = asked if isinstance(asked, Scale) else _imagenet()
    _same_channels(scale, dataset, place)
    said = scale.model_dump() if isinstance(asked, Scale) else asked
    facts = {**dataset.facts, "normalise": said}
    return replace(dataset, fixed=_pixels(scale), facts=facts)


def _imagenet() -> Scale:
    return Scale(mean=list(STANDARD.mean), sd=list(STANDARD.sd))


def _same_channels(scale: Scale, dataset: DataSet, place: str) -> None:
    if len(scale.mean) != dataset.channels:
        raise BadInputError(
            f"{key_of(place, 'normalise')}: {len(scale.mean)} channels, but the images have "
            f"{dataset.channels}; give a mean and an sd for each"
        )


def _pixels(scale: Scale) -> Normalisation:
    mean, sd = (255 * torch.tensor(values).reshape(-1, 1, 1) for values in (scale.mean, scale.sd))
    return mean, sd


def sized(size: Sequence[int]) -> Preprocessing:
    """Return the preprocessing that keeps images of this height and width."""
    height, width = size
    crop = height if height == width else (height, width)
    return Preprocessing((height,) if height == width else (height, width), crop)


def asked_size(settings: DataSettings) -> Preprocessing | None:
    """Return the preprocessing of a size in pixels; None for ``auto`` and ``native``."""
    if isinstance(settings.size, int):
        return sized([settings.size, settings.size])
    if isinstance(settings.size, list):
        height, width = settings.size
        return Preprocessing((height, width), height if height == width else (height, width))
    return None
