"""The packages that ssbench needs, which of them are installed, and how to get a missing one.

Imports the standard library alone: it speaks when another package is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, entry_points, version

from ssbench.paths import checkout

COMMAND = "ssbench.__main__:main"
"""The console script, by which ssbench finds its own distribution whatever that is called."""
_IMPORTED_AS = {
    "PIL": "pillow", "google.cloud": "gcsfs", "lightning": "lightning-fabric",
    "pynvml": "nvidia-ml-py", "sklearn": "scikit-learn", "vl_convert": "vl-convert-python",
}  # fmt: skip
"""Packages whose import name is not their own with underscores."""
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)[^;]*?(?:;.*extra\s*==\s*['\"]([^'\"]+)['\"].*)?$")


@dataclass(frozen=True)
class Needed:
    """A package that ssbench declares.

    Attributes:
        name: of the distribution.
        requirement: name and versions, as pip takes it.
        extra: the extra that asks for it; empty: every installation needs it.
        version: the installed one; None if it is missing.
    """

    name: str
    requirement: str
    extra: str
    version: str | None

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        extra = f" --extra {self.extra}" if self.extra else ""
        return f"uv sync{extra}" if checkout() else f"pip install '{self.requirement}'"


def distribution() -> Distribution | None:
    """Return the distribution that holds ssbench; None if it was only copied."""
    return next(
        (each.dist for each in entry_points(group="console_scripts") if each.value == COMMAND), None
    )


def needed() -> list[Needed]:
    """Return all declared packages, those of every installation first."""
    own = distribution()
    found = [_needed(line) for line in (own.requires or [] if own else [])]
    return sorted((each for each in found if each), key=lambda each: (each.extra, each.name))


def explain(error: ImportError) -> str | None:
    """Say in one line which declared package is missing or broken, and what helps.

    Returns:
        None if no declared package is at fault: then the error is one of ssbench or of a method.
    """
    module = error.name or ""
    root = module.partition(".")[0]
    names = {_IMPORTED_AS.get(root, root), root.replace("_", "-")}
    each = next((package for package in needed() if package.name in names), None)
    if each is None:
        return None
    if each.version is None:
        return f"the package {each.name} is missing; install it: {each.remedy}"
    return (
        f"the package {each.name} {each.version} cannot be imported ({error}); install it again: "
        f"{each.remedy}"
    )


def _needed(line: str) -> Needed | None:
    found = _REQUIREMENT.match(line.strip())
    if not found:
        return None
    name, extra = found[1].partition("[")[0], found[2] or ""
    requirement = line.partition(";")[0].strip().replace(" ", "")
    return Needed(name, requirement, extra, installed(name))


def installed(name: str) -> str | None:
    """Return the installed version of a package; None if it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
