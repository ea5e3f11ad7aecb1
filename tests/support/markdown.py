"""Links and paths in the Markdown of this repository."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.paths import ROOT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"),
                 *ROOT.glob("bench/perf/*.md"), ROOT / "results" / "README.md")
)  # fmt: skip
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(\.?[\w-]+)/(?:[\w.-]+/?)*")
_OURS = {path.name for folder in (ROOT, ROOT / "ssbench") for path in folder.iterdir()} - {
    "results"
}


def links(page: Path) -> list[str]:
    """The targets of a page's links to files of the repository."""
    found = [target.partition("#")[0] for target in _LINK.findall(page.read_text())]
    return [target for target in found if target and "://" not in target]


def paths(page: Path) -> list[str]:
    """Files and folders of the repository that a page names in code, such as `report/tables.py`."""
    matches = (_PATH.fullmatch(code) for code in _CODE.findall(page.read_text()))
    return [match[0] for match in matches if match and match[1] in _OURS]
