"""Check that two machines would compute the same: same code, same libraries."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Mapping

from ssbench.errors import BadInputError
from ssbench.paths import method_folder, package_folder
from ssbench.training.device import versions

CODE = "ssbench's code"
ELSEWHERE = ("methods", "bench", "cli", "tuning", "analysis", "report")
"""Folders without code of a stage; they may be edited while stages run elsewhere."""


def here() -> dict[str, str]:
    """Return this machine's versions of libraries, and a hash of ssbench's files.

    Leaves out the build of a version (``+cpu``, ``+cu128``), because the driver may have no GPU.
    """
    found = {name: found.partition("+")[0] for name, found in versions().items()}
    python = ".".join(platform.python_version_tuple()[:2])
    return {CODE: _code(), **found, "python": python}


def agree(theirs: Mapping[str, str]) -> None:
    """Check that this machine has the same code and libraries as the driver.

    Args:
        theirs: the result of `here` on the driver.

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
            "on every node, and restart Ray there"
        )


def _code() -> str:
    """Return a hash of the names and contents of all files that carry out stages."""
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
