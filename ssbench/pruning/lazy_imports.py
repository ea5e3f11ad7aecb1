"""Import slow libraries on first use, and only the parts needed.

>>> torch_pruning().DependencyGraph()
>>> flop_count_analysis()(model, images).total()
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ssbench.errors import BadInputError


@contextmanager
def _needed(package: str) -> Iterator[None]:
    """Name the remedy if a package that every installation needs cannot be imported.

    Otherwise each network would be refused for it.
    """
    try:
        yield
    except ImportError as error:
        raise BadInputError(
            f"the package {package} cannot be imported ({error}); install it again: uv sync in a "
            f"checkout, else pip install {package} (ssbench doctor shows all packages)"
        ) from error


@cache
def torch_pruning() -> Any:
    """Import torch-pruning without timm, unless timm is already imported.

    torch-pruning imports timm if installed, to count the multiply-adds of its attention, which
    nothing here needs; timm imports torch's compiler, which takes seconds.
    """
    imported = "timm" in sys.modules
    if not imported:
        sys.modules["timm"] = None  # type: ignore[assignment]  # Python then raises ImportError
    try:
        with _needed("torch-pruning"):
            import torch_pruning

            return torch_pruning
    finally:
        if not imported:
            del sys.modules["timm"]


@cache
def flop_count_analysis() -> Any:
    """Import fvcore's counter of multiply-adds.

    The import compiles helpers with torch.jit.script, which torch deprecates: silence only that
    warning, only here.
    """
    with _needed("fvcore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script")
        from fvcore.nn import FlopCountAnalysis

        return FlopCountAnalysis
