"""ssbench: neural-network pruning methods head to head.

`run` makes an experiment's results, as ``ssbench run`` does; `Results` reads them; `prune` and
`attach` prune a network of your own; `load` opens a network that ``ssbench export`` wrote.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssbench.analysis.frame import load_results as load_results
    from ssbench.cli.from_python import run as run
    from ssbench.cli.prune import attach as attach
    from ssbench.cli.prune import prune as prune
    from ssbench.errors import BadInputError as BadInputError
    from ssbench.models.exported import load as load
    from ssbench.report.notebook import Results as Results

if not (Path(__file__).parent / "methods").is_dir():
    # A checkout has methods/ beside the package. An installed checkout knows; this is for Python
    # that finds the folder itself, because it was started there.
    __path__.append(str(Path(__file__).parent.parent))

__version__ = "0.1.0"
__all__ = ["BadInputError", "Results", "attach", "load", "load_results", "prune", "run"]

_HOME = {
    "BadInputError": "ssbench.errors",
    "Results": "ssbench.report.notebook",
    "attach": "ssbench.cli.prune",
    "load": "ssbench.models.exported",
    "load_results": "ssbench.analysis.frame",
    "prune": "ssbench.cli.prune",
    "run": "ssbench.cli.from_python",
}


def __getattr__(name: str) -> object:
    """Import a name on first use: torch only for networks, pandas only for results.

    Raises:
        AttributeError: there is no such name.
    """
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
