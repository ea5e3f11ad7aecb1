"""The entries of the key ``models`` of an experiment.

>>> ModelSpec(name="nets/my_net.py:Net", depth=3).short
'my_net.py:Net(depth=3)'
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ssbench.models.names import called

WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin")
ELSEWHERE = ("random", "published")
"""Values of ``start`` that are no file."""
_Text = Annotated[str, Field(max_length=500)]


class ModelSpec(BaseModel):
    """One entry of ``models``: a name, arguments of the network, and where its weights come from.

    Attributes:
        name: of ssbench, torchvision or timm, of a package or a ``--model-file``, or FILE.py:NAME.
        weights: a file of weights to start from; None: as the key ``start`` says.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: _Text
    weights: _Text | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The network's arguments as the file gives them."""
        return dict(self.model_extra or {})

    @property
    def short(self) -> str:
        """The name without folders, with the arguments."""
        file, colon, attribute = self.name.rpartition(".py:")
        name = f"{PurePath(file).name}{colon}{attribute}" if colon else self.name
        return called(name, self.arguments)

    @property
    def label(self) -> str:
        """The name in tables: networks that were trained elsewhere have tables of their own."""
        return f"{self.short} from {PurePath(self.weights).name}" if self.weights else self.short


def as_tables(models: Sequence[str | ModelSpec], start: str) -> list[ModelSpec]:
    """Return the entries of ``models`` as tables, with the file of weights that ``start`` names."""
    each = [ModelSpec(name=m) if isinstance(m, str) else m for m in models]
    if start in ELSEWHERE:
        return each
    return [e.model_copy(update={"weights": e.weights or start}) for e in each]


def check_start(start: str) -> str:
    """Refuse a start that is neither a known word nor a file of weights.

    Raises:
        ValueError: it is not.
    """
    if start not in ELSEWHERE and not start.endswith(WEIGHT_FILES):
        kinds = ", ".join(WEIGHT_FILES)
        raise ValueError(f"input should be 'random', 'published' or a file of weights ({kinds})")
    return start
