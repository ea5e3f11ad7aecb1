"""A copy of the packages laid out as a wheel does, to be changed and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def installed(target: Path) -> dict[str, str]:
    """Lay the packages out as a wheel does, and return the environment that uses them."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ssbench", target / "ssbench", ignore=ignore)
    shutil.copytree(ROOT / "methods", target / "ssbench" / "methods", ignore=ignore)
    shutil.copytree(ROOT / "bench", target / "ssbench" / "bench", ignore=ignore)
    return {**os.environ, "PYTHONPATH": str(target)}


def shell(
    environment: dict[str, str], folder: Path, *arguments: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssbench", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
