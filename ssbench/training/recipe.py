"""Training recipes: the settings of one stage, and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from ssbench.errors import within

if TYPE_CHECKING:
    from torch import nn

Schedule = Literal["one-cycle", "step", "wide-step", "cosine", "constant"]
LearningRate = Annotated[
    float, within(1e-10, 100, "smaller steps vanish in rounding, larger ones diverge")
]
Precision = Literal["fp32", "tf32", "bf16"]
"""``fp32``: IEEE single precision. ``tf32``: convolutions and linear layers multiply with 10 bits
of mantissa (CUDA). ``bf16``: they compute in bfloat16, by autocast; weights, statistics of batch
norms, penalties and the optimiser stay in float32."""


class Recipe(BaseModel):
    """One stage of training. The defaults are network slimming's CIFAR recipe (Liu et al. 2017).

    Attributes:
        epochs: passes over the training images; 0: the weights stay as they come.
        batch_size: images per step.
        optimizer: stochastic gradient descent with momentum, or Adam.
        lr: the learning rate, which the schedule multiplies.
        momentum: of the gradients (sgd).
        nesterov: whether the momentum is Nesterov's (sgd).
        weight_decay: the share of a weight that the gradient of its decay adds.
        schedule: the course of the learning rate.
        begin: the progress at which the schedule starts: a rewound one runs only its last part.
        shift: largest random translation in pixels; None: the data set's standard.
        flip: random mirroring, left to right; None: the data set's standard.
        precision: number format of training; evaluation is always in float32.
        compile: whether torch.compile makes the forward pass and its gradient.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    epochs: Annotated[int, within(0, 100_000, "a record holds the curve of every epoch")] = 160
    batch_size: Annotated[
        int, within(2, 65_536, "batch norm needs two images, and no memory holds more than that")
    ] = 64
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: LearningRate = 0.1
    momentum: Annotated[
        float, within(0, 0.9999, "a gradient counts 1 / (1 - momentum) times in the end")
    ] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[
        float, within(0, 1, "a larger one takes more than the weight itself in a few steps")
    ] = 1e-4
    schedule: Schedule = "step"
    begin: Annotated[float, within(0, 0.9999, "something of the schedule must be left")] = 0.0
    shift: Annotated[int, within(0, 1000, "no image moves by more than its own size")] | None = None
    flip: bool | None = None
    precision: Precision = "fp32"
    compile: bool = False

    @model_validator(mode="after")
    def _has_effect(self) -> Recipe:
        """Refuse settings that would change a stage's id but not its result."""
        given = self.model_fields_set & {"momentum", "nesterov"}
        if self.optimizer == "adam" and given:
            raise ValueError(f"adam has no {min(given)}; remove it")
        if self.momentum == 0 and self.nesterov and "nesterov" in given:
            raise ValueError("nesterov changes nothing if momentum is 0; remove it")
        return self

    def rate(self, progress: float) -> float:
        """Return the factor of the learning rate at a progress of this stage from 0 to 1."""
        return SCHEDULES[self.schedule](self.begin + (1 - self.begin) * progress)

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from their default."""
        return self.model_dump(exclude_defaults=True)

    def manifest(self) -> dict[str, Any]:
        """Return all settings; a precision of fp32 is empty, as in older versions."""
        plain = {"precision": ""} if self.precision == "fp32" else {}
        return self.model_dump() | plain


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with their own learning rate or weight decay.

    Attributes:
        weight_decay: None: the recipe's.
        lr_scale: factor of the recipe's learning rate.
    """

    params: list[nn.Parameter] = field(repr=False)
    weight_decay: float | None = None
    lr_scale: float = 1.0


def _one_cycle(progress: float) -> float:
    """Rise over the first 30 % from 1/25, then fall along a cosine to nearly zero (Smith 2018)."""
    if progress < 0.3:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / 0.3)) / 2
    return max((1 + math.cos(math.pi * (progress - 0.3) / 0.7)) / 2, 1e-4)


def _wide_step(progress: float) -> float:
    """Fall to a fifth after 30, 60 and 80 % (Zagoruyko and Komodakis 2016: epochs of 200)."""
    return 0.2 ** sum(progress >= milestone for milestone in (0.3, 0.6, 0.8))


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "one-cycle": _one_cycle,
    "step": lambda progress: 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01,
    "wide-step": _wide_step,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    "constant": lambda _: 1.0,
}
"""By name, the factor of the learning rate at each progress from 0 to 1."""
