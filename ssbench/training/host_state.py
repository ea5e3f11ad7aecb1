"""What the modules of a network hold in Python: a recorded or compiled step never changes it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

_PLAIN = (int, float, str)
_INTERNAL = vars(nn.Module()).keys()


def host_state(model: nn.Module) -> dict[str, Any]:
    """Return the numbers and words that the modules of a network hold, by name.

    Also those in their lists, tuples, dictionaries and sets.
    """
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key == "training" or key not in _INTERNAL:
                if isinstance(value, _PLAIN):
                    found[f"{name}.{key}"] = value
                elif _is_plain(value):
                    found[f"{name}.{key}"] = copy.copy(value)
    return found


def restore_host(model: nn.Module, before: Mapping[str, Any]) -> None:
    """Put back what `host_state` returned."""
    for name, value in before.items():
        owner, _, key = name.rpartition(".")
        setattr(model.get_submodule(owner), key, copy.copy(value))


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    return isinstance(value, list | tuple | set) and all(isinstance(v, _PLAIN) for v in value)
