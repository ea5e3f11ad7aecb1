"""How a photograph becomes a network's input: resized, cropped, scaled.

>>> Preprocessing(resize=(342,), crop=299)      # Inception-v3: shorter side 342, middle 299 x 299
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
"""Pillow's filters, which average over the pixels that a smaller image merges."""


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of evaluation; training crops at random to the same size.

    The defaults fit torchvision's networks for 224 pixels.

    Attributes:
        resize: pixels of the shorter side, or height and width, which change the shape.
        crop: height and width in pixels of the middle part; one number if they are equal.
        mean: by channel, of values 0 to 1; subtracted.
        sd: by channel, of values 0 to 1; divided by.
    """

    resize: tuple[int, ...] = (256,)
    crop: int | tuple[int, int] = 224
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    sd: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an input."""
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def facts(self) -> dict[str, Any]:
        """Return the values of a record besides mean and sd, as plain JSON."""
        return {
            "resize": list(self.resize),
            "crop": self.crop if isinstance(self.crop, int) else list(self.crop),
            "interpolation": self.interpolation,
        }

    def identity(self) -> dict[str, Any]:
        """Return everything that a result depends on, as plain JSON."""
        return self.facts() | {"mean": list(self.mean), "sd": list(self.sd)}


STANDARD = Preprocessing()
"""The preprocessing of every run that does not start from published weights."""
