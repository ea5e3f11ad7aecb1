"""Look at every image of a folder once before training, and keep the findings.

Decoding finds damaged images before days of training (10,000 of 500 x 375 pixels take 7 to 20 s on
one core); of large splits only headers are read (0.1 ms each). The findings are kept beside the
data sets, and the next start with the same images reads them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import PIL

from ssbench.data.picture import Rule, Seen, examine, quiet, shown
from ssbench.errors import BadInputError

FOLDER = "looked-at"
"""Folder below that of all data sets."""
NAMED = 5
"""Number of damaged files that a message names."""

Found = dict[str, Seen]
"""Findings by path, for images that need a rule or have several frames."""


def survey(root: Path, paths: Sequence[str], key: str, keep: Path | None, *, decode: bool) -> Found:
    """Look at all images, or read earlier findings.

    Args:
        root: the folder that paths are relative to.
        paths: of the images.
        key: a hash of all images; the key of the findings.
        keep: the folder of all data sets; None: keep nothing.
        decode: whether to decode images completely.

    Raises:
        BadInputError: names up to five images that cannot be read.
    """
    kept = keep / FOLDER / f"{key[:32]}-{PIL.__version__}-{int(decode)}.json" if keep else None
    if kept and (before := _read(kept)) is not None:
        return before
    found = look(root, paths, decode=decode)
    if kept:
        keep_text(kept, as_text(found))
    return found


def keep_text(path: Path, text: str) -> None:
    """Keep findings for speed, whole or not at all; an unwritable folder does no harm."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{os.getpid()}-{path.name}")
        part.write_text(text, encoding="utf-8")
        part.replace(path)


def look(root: Path, paths: Sequence[str], *, decode: bool) -> Found:
    """Look at all images, in threads: decoders release Python's lock.

    Raises:
        BadInputError: names up to five images that cannot be read.
    """
    found, wrong = try_all(root, paths, decode=decode)
    refuse(root, list(wrong.values()))
    return found


def try_all(root: Path, paths: Sequence[str], *, decode: bool) -> tuple[Found, dict[str, str]]:
    """Look at all images; return the findings, and by path why some cannot be read."""
    with quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        every = list(pool.map(partial(_look, root, decode=decode), paths))
    pairs = list(zip(paths, every, strict=True))
    found = {path: seen for path, seen in pairs if isinstance(seen, Seen) and seen != Seen()}
    return found, {path: why for path, why in pairs if isinstance(why, str)}


def refuse(root: Path, wrong: Sequence[str]) -> None:
    """Refuse images that cannot be read.

    Raises:
        BadInputError: there is one; names up to five.
    """
    if len(wrong) == 1:
        raise BadInputError(wrong[0])
    if wrong:
        more = f"\n  and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        lines = "\n  ".join(wrong[:NAMED])
        raise BadInputError(f"{shown(root)}: {len(wrong)} images cannot be used:\n  {lines}{more}")


def _look(root: Path, path: str, *, decode: bool) -> Seen | str:
    try:
        return examine(root / path, decode=decode)
    except BadInputError as error:
        return str(error)


def as_text(found: Found) -> str:
    """Write findings as JSON."""
    return json.dumps(
        {path: [*seen.rules, *["frames"] * seen.frames] for path, seen in found.items()}
    )


def from_text(text: str) -> Found | None:
    """Read what `as_text` wrote; None if the text is damaged."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    rules: dict[str, Rule] = {"grey": "grey", "transparent": "transparent", "turned": "turned"}
    return {
        each: Seen(tuple(rules[word] for word in words if word in rules), "frames" in words)
        for each, words in content.items()
    }


def _read(path: Path) -> Found | None:
    try:
        return from_text(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
