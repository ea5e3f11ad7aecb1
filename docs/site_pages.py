"""Hooks of mkdocs: pages of the site that lie outside docs/, and links that lead out of it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "README.md": "index.md",
    "results/README.md": "results.md",
    "examples/README.md": "examples.md",
    "bench/perf/RESULTS.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""By its path in the repository, what a page outside docs/ is called in the site."""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, and the pictures that they show, from outside docs/."""
    for source, page in ELSEWHERE.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=text))
        for picture, _, target in _LINK.findall(text):
            path = _from_root(source, target)
            if picture and not path.startswith("docs/"):
                content = (ROOT / path).read_bytes()
                files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to pages of the site; of files that are none the name is left."""
    here = {name: source for source, name in ELSEWHERE.items()}.get(page.file.src_uri)
    source = here or f"docs/{page.file.src_uri}"

    def link(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        path, mark, part = target.partition("#")
        if "://" in target or not path:
            return match[0]
        inside = _from_root(source, path)
        if inside in ELSEWHERE:
            return f"[{text}]({ELSEWHERE[inside]}{mark}{part})"
        if inside.startswith("docs/"):
            return f"{picture}[{text}]({inside.removeprefix('docs/')}{mark}{part})"
        return f"{picture}[{text}]({inside})" if picture else f"{text} (`{inside}`)"

    return _LINK.sub(link, markdown)


def _from_root(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
