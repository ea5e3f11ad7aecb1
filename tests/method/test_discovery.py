"""Where methods are found."""

import subprocess
import sys
from pathlib import Path

from ssbench.method.registry import discover

UNMAPPED = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path.insert(0, sys.argv[1])
from ssbench.method.registry import discover
print(*discover().methods)
"""


def test_methods_are_found_where_python_finds_the_folder_before_the_installed_package() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", UNMAPPED, str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == list(discover().methods)
