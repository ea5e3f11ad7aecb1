"""An architecture: all that builds a network, except the data set's channels and classes.

>>> str(Architecture.of("vgg16", {"width": 0.5}))
'vgg16(width=0.5)'
>>> Architecture.of("vgg16", {"width": 0.5}).build(3, 10)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ssbench.models import own
from ssbench.models.names import called
from ssbench.models.own import Code
from ssbench.models.registry import build, maker_of


@dataclass(frozen=True)
class Architecture:
    """A network by name, with its arguments and, if it does not ship with ssbench, its code.

    Attributes:
        name: as an experiment names it, without folders: ``vgg16``, ``timm:vit_tiny_patch16_224``,
            ``my_net.py:Net``.
        written: the arguments, as JSON with sorted keys, so that architectures can be compared.
        code: None for the networks of ssbench, torchvision and timm.
    """

    name: str
    written: str = "{}"
    code: Code | None = None

    @classmethod
    def of(
        cls, name: str, arguments: Mapping[str, Any] | None = None, code: Code | None = None
    ) -> Architecture:
        """Make an architecture from arguments as plain values."""
        return cls(name, json.dumps(dict(arguments or {}), sort_keys=True), code)

    def __str__(self) -> str:
        """The name with the arguments: ``vgg16(width=0.5)``."""
        return called(self.name, self.arguments)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments besides channels and classes."""
        found: dict[str, Any] = json.loads(self.written)
        return found

    def build(self, channels: int, classes: int, size: tuple[int, int] | None = None) -> nn.Module:
        """Build the network with the weights that torch's global generator draws.

        Args:
            channels: of the images.
            classes: the width of its output.
            size: height and width of the images; networks of timm that are made for one size of
                images need it. None: their own.

        Raises:
            BadInputError: an unknown name, the network takes only colour images, or its code is
                not the same here.
            RunFailedError: its code returns no module. Its own errors pass through.
        """
        if self.code:
            return self.code.build(channels, classes, self.arguments)
        return build(self.name, channels, classes, size=size, arguments=self.arguments)

    def check_arguments(self, place: str) -> None:
        """Refuse arguments that the network does not take.

        Raises:
            BadInputError: names ``place``, the argument and similar ones.
        """
        if self.arguments:
            maker = self.code.maker() if self.code else maker_of(self.name)
            own.refuse_unknown(maker, self.arguments, place)

    def described(self) -> dict[str, Any]:
        """Return what a record says about it: name, arguments, and the code's hash."""
        content = self.code.content if self.code else None
        return {"name": self.name, "arguments": self.arguments, "code": content}


def named(network: str | Architecture) -> Architecture:
    """Return an architecture; a plain name stands for one without arguments."""
    return network if isinstance(network, Architecture) else Architecture(network)
