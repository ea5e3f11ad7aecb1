"""Whether two machines would compute the same: the same code, and the same libraries."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Mapping
from importlib.metadata import version

from ssbench.errors import BadInputError
from ssbench.paths import method_folder, package_folder
from ssbench.training.device import LIBRARIES

CODE = "ssbench's code"
ELSEWHERE = ("methods", "bench", "cli", "tuning", "analysis", "report")
"""Folders that hold no code of a stage: they may be edited while stages run elsewhere."""


def here() -> dict[str, str]:
    """What this machine would compute with: versions by library, and a hash of ssbench's files.

    What a version says of the build (``+cpu``, ``+cu128``) is left out: the driver may have no GPU.
    """
    versions = {name: version(name).partition("+")[0] for name in LIBRARIES}
    python = ".".join(platform.python_version_tuple()[:2])
    return {CODE: _code(), **versions, "python": python}


def agree(theirs: Mapping[str, str]) -> None:
    """See that this machine has what the one that hands out the stages has.

    Args:
        theirs: what `here` says there.

    Raises:
        BadInputError: names the machine and what differs.
    """
    ours = here()
    different = [
        f"{name} {ours[name]} (the driver has {theirs.get(name)})"
        for name in ours
        if ours[name] != theirs.get(name)
    ]
    if different:
        raise BadInputError(
            f"the worker on {socket.gethostname()} has {', '.join(different)}; install the same "
            "on every node, and start Ray there anew"
        )


def _code() -> str:
    """A hash of the files that stages are carried out by, by their names."""
    package = package_folder()
    files = {
        f"ssbench/{path.relative_to(package)}": path
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in ELSEWHERE
    }
    files |= {f"methods/{path.name}": path for path in method_folder().glob("*.py")}
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0".encode() + files[name].read_bytes() + b"\0")
    return digest.hexdigest()[:12]
