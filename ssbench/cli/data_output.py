"""What ``ssbench data --json`` prints."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Output(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitFacts(Output):
    """The images of one split."""

    images: int
    fewest: int = Field(description="images of the rarest class")
    most: int = Field(description="images of the most frequent class")


class ClassFacts(Output):
    """The images of one class."""

    name: str
    train: int
    validation: int
    test: int


class SizeFacts(Output):
    """The images of one size."""

    height: int
    width: int
    images: int


class SampleFacts(Output):
    """The first image of a split."""

    split: str
    image: str = Field(description="its file, or its number")
    label: str
    sha256: str = Field(description="of the file, or of the pixels of an array")


class UnreadableFacts(Output):
    """An image that cannot be read."""

    image: str
    reason: str


class DataOutput(Output):
    """``ssbench data``: a verified data set; without mean and fingerprint if it is not usable."""

    name: str = Field(description="as an experiment names it")
    usable: bool = Field(description="whether ssbench can train on it")
    image: list[int] | None = Field(default=None, description="channels, height and width")
    classes: int
    splits: dict[str, SplitFacts]
    of_each_class: list[ClassFacts]
    sizes: list[SizeFacts] = Field(description="of images of one's own, before any resizing")
    prepared: dict[str, Any] | None = Field(
        default=None, description="what records say of images of one's own"
    )
    preprocessing: dict[str, Any] | None = Field(default=None, description="of images on disk")
    mean: list[float] | None = Field(default=None, description="by channel, of values 0 to 1")
    sd: list[float] | None = None
    shift: int | None = Field(default=None, description="standard augmentation: pixels")
    flip: bool | None = Field(default=None, description="standard augmentation: mirrored")
    converted: dict[str, int] | None = Field(
        default=None, description="images that are not shown as they are stored"
    )
    samples: list[SampleFacts] | None = None
    guess_error: float | None = Field(
        default=None, description="% test error of always answering the most frequent class"
    )
    fingerprint: str | None = None
    unreadable: list[UnreadableFacts]
    warnings: list[str]
