"""List methods by importing them; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssbench.method.describe import Described
from ssbench.method.registry import MethodFile, discover


def imported_methods(files: Sequence[Path]) -> tuple[list[Described], dict[str, str]]:
    """Import every method; return their descriptions, and the reasons why others are broken."""
    registry = discover(files)
    return [_described(name, file) for name, file in registry.methods.items()], registry.broken


def _described(name: str, file: MethodFile) -> Described:
    method = file.cls()
    summary = (file.cls.__doc__ or "").strip().splitlines()[0]
    search = dict(method.search)
    return Described(name, method.grain, method.settings, summary, method.paper, search)
