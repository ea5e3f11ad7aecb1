"""The table ``[data]`` of an experiment: how to prepare images of one's own.

>>> DataSettings(size=32, validation=0.2).changed()
{'size': 32, 'validation': 0.2}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ssbench.errors import BadInputError, within

LARGEST = 4096
"""Pixels: no network here takes more."""
SHARE = 0.1
"""The share of each class that a split takes where the data have no such split."""
Share = Annotated[float, within(0.001, 0.9, "both splits and the training need some images")]


Sides = Annotated[list[int], Field(min_length=2, max_length=2)]


class Scale(BaseModel):
    """A normalisation.

    Attributes:
        mean: by channel, of values 0 to 1; subtracted.
        sd: by channel, of values 0 to 1; divided by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mean: list[Annotated[float, within(-10, 10, "pixels lie between 0 and 1")]]
    sd: list[Annotated[float, within(1e-4, 10, "pixels lie between 0 and 1")]]

    @field_validator("sd")
    @classmethod
    def _some(cls, sd: list[float]) -> list[float]:
        if not sd:
            raise ValueError("name one number for each channel")
        return sd


class DataSettings(BaseModel):
    """How to prepare images of one's own.

    Attributes:
        size: ``native``: as they are, all equal; N: the shorter side becomes N pixels, and the
            middle N x N is cut out; [H, W]: resized to this height and width, whatever the shape;
            ``auto``: native for small images of one size, otherwise 224.
        memory: whether images are decoded once and stay in the device's memory; ``auto``: small
            images, and those with a ``size``, if they take at most 2 GiB.
        normalise: ``measured`` on the training images, ``imagenet``, or a table of mean and sd;
            ``auto``: measured in memory, otherwise ImageNet's.
        validation: the share of each class to hold out for validation, where the data have no such
            split; None: a tenth.
        test: the same for testing.
        seed: of the choice of these images, whatever the seed of a run.
        image: the column of images in a saved data set; empty: the only one.
        label: the column of classes in a saved data set; empty: the only one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    size: Literal["auto", "native"] | int | Sides = "auto"
    memory: Literal["auto"] | bool = "auto"
    normalise: Literal["auto", "measured", "imagenet"] | Scale = "auto"
    validation: Share | None = None
    test: Share | None = None
    seed: Annotated[int, within(0, 2**32 - 1, "the random permutation takes 32 bits")] = 0
    image: str = ""
    label: str = ""

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, size: Any) -> Any:
        sides = size if isinstance(size, list) and len(size) == 2 else [size]
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in sides)
        if size in ("auto", "native") or (whole and all(1 <= n <= LARGEST for n in sides)):
            return size
        raise ValueError(
            f"must be 'native', a number of pixels from 1 to {LARGEST}, or [height, width]"
        )

    @field_validator("memory", mode="before")
    @classmethod
    def _memory(cls, memory: Any) -> Any:
        if memory == "auto" or isinstance(memory, bool):
            return memory
        raise ValueError("must be 'auto', true or false")

    @field_validator("normalise", mode="before")
    @classmethod
    def _normalise(cls, normalise: Any) -> Any:
        if normalise in ("auto", "measured", "imagenet") or isinstance(normalise, dict | Scale):
            return normalise
        raise ValueError("must be 'measured', 'imagenet', or { mean = […], sd = […] }")

    @field_validator("normalise")
    @classmethod
    def _same_length(cls, normalise: Any) -> Any:
        if isinstance(normalise, Scale) and len(normalise.mean) != len(normalise.sd):
            raise ValueError(
                f"mean has {len(normalise.mean)} numbers and sd {len(normalise.sd)}; give each "
                "channel one of both"
            )
        return normalise

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from their default."""
        return self.model_dump(exclude_defaults=True)


@dataclass(frozen=True)
class Request:
    """Images of one's own that an experiment asks for.

    Attributes:
        path: the file or folder.
        name: of the data set in records.
        place: the key that names the data set, for errors.
        keep: the folder of all data sets, where decoded images are kept.
        plain: as in `ssbench.data.image_folder.Files`.
        function: the name behind the colon of ``my_data.py:function``.
    """

    path: Path
    name: str
    place: str
    keep: Path
    settings: DataSettings = field(default_factory=DataSettings)
    plain: bool = False
    function: str = ""

    def key(self, name: str) -> str:
        """Return the place of a key of ``[data]``, for errors."""
        return key_of(self.place, name)

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Refuse settings that would have no effect.

        Raises:
            BadInputError: one of them is not at its default; names the key.
        """
        refuse(self.settings, names, self.place, why)


def key_of(place: str, name: str) -> str:
    """Return the place of a key of ``[data]``: ``x.toml: data.size`` beside ``x.toml: dataset``."""
    return f"{place.removesuffix('dataset')}data.{name}" if place.endswith("dataset") else name


def refuse(settings: DataSettings, names: tuple[str, ...], place: str, why: str) -> None:
    """Refuse settings that would have no effect on a data set.

    Raises:
        BadInputError: one of them is not at its default; names the key.
    """
    for name in settings.changed():
        if name in names:
            raise BadInputError(f"{key_of(place, name)}: {why}; remove the key")
