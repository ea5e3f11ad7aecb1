"""What ``ssbench check`` finds, and prints with ``--json``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_STRICT = ConfigDict(frozen=True, extra="forbid")


class MethodCheck(BaseModel):
    """What became of one method on a network."""

    model_config = _STRICT

    method: str
    verdict: Literal["works", "partly", "refused"]
    params_kept: float | None = Field(default=None, description="where 0.5 were asked for")
    difference: float | None = Field(default=None, description="of outputs by surgery, relative")
    untouched: dict[str, str] = Field(default={}, description="layers that stay whole, and why")
    reason: str = Field(default="", description="why it is refused, or what stays")


class CheckOutput(BaseModel):
    """``ssbench check``: every method on one network; ``reason``: why it is refused itself."""

    model_config = _STRICT

    network: str
    data: str
    image: list[int] | None = None
    params: int | None = None
    macs: int | None = None
    reason: str = ""
    methods: list[MethodCheck]
