"""Libraries that take long to import: imported where they are first needed, and no more of them.

>>> torch_pruning().DependencyGraph()
>>> flop_count_analysis()(model, images).total()
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from typing import Any


@cache
def torch_pruning() -> Any:
    """Import torch-pruning without timm, where timm has not been imported before.

    torch-pruning imports timm if that is installed, to count the multiply-adds of its attention,
    which is not asked for here; timm takes torch's compiler with it, and seconds.
    """
    found = "timm" in sys.modules
    if not found:
        sys.modules["timm"] = None  # type: ignore[assignment]  # python's word for: not to be found
    try:
        import torch_pruning

        return torch_pruning
    finally:
        if not found:
            del sys.modules["timm"]


@cache
def flop_count_analysis() -> Any:
    """Import fvcore's count of multiply-adds.

    While it is imported it compiles helpers with torch.jit.script, which torch deprecates: exactly
    that is silenced, here alone.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script")
        from fvcore.nn import FlopCountAnalysis

        return FlopCountAnalysis
