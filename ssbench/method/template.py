"""The file that ``ssbench new-method`` writes: a working method to change."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from ssbench.errors import BadInputError
from ssbench.paths import method_folder
from ssbench.storage.files import make_folder, write

TEMPLATE = '''"""{title}: what it is, and where it comes from (paper, equation)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ssbench.method import (
    Grain,
    Limit,
    Method,
    Scores,
    Search,
    Uniform,
    prunable_weights,
    to_grain,
)


@dataclass(frozen=True, kw_only=True)
class {cls}(Method):
    """Score each unit by the p-norm of its weights, as an example to change.

    Attributes:
        grain: the unit to keep or prune.
        power: the p of the norm.
    """

    paper: ClassVar[str] = "unpublished"
    search: ClassVar[Mapping[str, Search]] = {{"power": Uniform(1.0, 4.0)}}
    limits: ClassVar[Mapping[str, Limit]] = {{
        "power": (0.1, 10, "powers over 10 leave the range of single precision"),
    }}
    grain: Grain = "connection"
    power: float = 2.0

    def scores(self, model: nn.Module) -> Scores:
        """Sum |w|^p over each unit and take the p-th root; higher is kept longer.

        Optional hooks: attach, penalty, after_step, parameter_groups, detach.
        """
        return {{
            name: to_grain(weight.abs() ** self.power, self.grain) ** (1 / self.power)
            for name, weight in prunable_weights(model).items()
        }}
'''


def write_method(name: str, folder: Path | None = None) -> Path:
    """Write ``<folder>/<name>.py`` and return its path.

    Args:
        name: of the method; dashes become underscores in the file's name.
        folder: by default ssbench's own folder of methods.

    Raises:
        BadInputError: the name is invalid, or the file exists.
    """
    stem = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem) or keyword.iskeyword(stem):
        raise BadInputError(
            f"new-method {name}: use lower-case letters, digits and dashes, a letter first"
        )
    target = folder or method_folder()
    make_folder(target, "--folder")
    path = target / f"{stem}.py"
    if path.exists():
        raise BadInputError(f"{path} already exists; choose another name")
    words = stem.split("_")
    cls = "".join(word.capitalize() for word in words)
    write(path, TEMPLATE.format(title=" ".join(words).capitalize(), cls=cls))
    return path
