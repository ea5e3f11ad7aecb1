"""Lines of JSON under one checksum, which reveals lines that were altered, cut or mixed up.

Every line of a file ends with the same key ``sha256``: the hash of all lines without it, joined by
line ends. It reveals a missing line as well as a flipped bit. It is a checksum, not a signature:
it does not stop forgery.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssbench.errors import BadInputError, DamagedError
from ssbench.storage.files import read

Line = dict[str, Any]
Pairs = list[tuple[str, Any]]

LIMIT = 64 * 2**20
"""Maximum size of a file of records in bytes; 3,000 epochs and 1,000 layers take 1 % of it."""
MANIFEST_LIMIT = 2**20
REMEDY = "run the experiment again, which sets the file aside and computes it again, or remove it"
SEALED = 2
"""The first format of records with a checksum in every line."""
_ALTERED = "altered or cut after it was written"
_SEAL = re.compile(rb'(.*), "sha256": "([0-9a-f]{64})"}', re.DOTALL)


def dump(lines: Sequence[Line]) -> str:
    """Write at least one line, with the checksum. Numbers that are not finite become null."""
    texts = [json.dumps(_finite(line), sort_keys=True, allow_nan=False) for line in lines]
    digest = _digest([text.encode() for text in texts])
    return "".join(f'{text[:-1]}, "sha256": "{digest}"}}\n' for text in texts)


def parse(path: Path) -> list[Line]:
    """Read the lines of a file, at least one, without ``sha256``.

    Also reads files without checksums, if their format is older than checksums.

    Raises:
        DamagedError: a line is no JSON object or repeats a key, or the checksum does not match.
        BadInputError: there is no such file, or it is larger than `LIMIT`.
    """
    content = read(path, LIMIT)
    texts = content.removesuffix(b"\n").split(b"\n")
    if not content.strip():
        raise DamagedError(str(path), "empty", REMEDY)
    seals = [_SEAL.fullmatch(text) for text in texts]
    valid = [seal for seal in seals if seal]
    whole = len(valid) == len(texts)
    if whole:
        texts = [seal[1] + b"}" for seal in valid]
        if _digest(texts) != _one(valid):
            raise DamagedError(str(path), _ALTERED, REMEDY)
    # `dump` wrote what has a checksum, and repeats no key; looking for one costs time.
    once = None if whole else _once
    lines = [_line(text, f"{path}, line {n}", once) for n, text in enumerate(texts, 1)]
    for number, line in enumerate(lines, 1):
        _version(line, f"{path}, line {number}")
    for number, (line, seal) in enumerate(zip(lines, seals, strict=True), 1):
        if not whole and not seal and (valid or _sealed(line)):
            what = "altered after it was written (it lacks the checksum)"
            raise DamagedError(f"{path}, line {number}", what, REMEDY)
    return lines


def last_line(path: Path) -> Line | None:
    """Read only the last line of a file with a valid checksum; None if it has no checksum.

    What `dump` wrote needs no further check: ten thousand files take a second or two.

    Raises:
        DamagedError: the checksum does not match.
        BadInputError: the file cannot be read, or is larger than `LIMIT`.
    """
    texts = read(path, LIMIT).removesuffix(b"\n").split(b"\n")
    seals = [_SEAL.fullmatch(text) for text in texts]
    valid = [seal for seal in seals if seal]
    if len(valid) != len(texts):
        return None
    whole = [seal[1] + b"}" for seal in valid]
    if _digest(whole) != _one(valid):
        raise DamagedError(str(path), _ALTERED, REMEDY)
    line = _line(whole[-1], f"{path}, line {len(whole)}", None)
    _version(line, f"{path}, line {len(whole)}")
    return line


def read_manifest(path: Path) -> dict[str, Any]:
    """Read an ``experiment.json``: what all records of a folder share.

    Raises:
        BadInputError: it is damaged, or cannot be read.
    """
    try:
        content = json.loads(read(path, MANIFEST_LIMIT))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            f"{path}: damaged ({error}); it says which experiment the records beside it belong to: "
            "put it back from a copy, or choose another --results"
        ) from error
    return content


def _one(seals: Sequence[re.Match[bytes]]) -> str | None:
    """Return the checksum that all lines carry; None if they differ."""
    digests = {seal[2] for seal in seals}
    return digests.pop().decode() if len(digests) == 1 else None


def _version(line: Line, place: str) -> None:
    version = line.get("format")
    if isinstance(version, int) and version > SEALED:
        raise DamagedError(
            place,
            f"a record of format {version}, of which this version of ssbench reads those up to "
            f"{SEALED}",
            "read it with the version that wrote it, or run the experiment again, which sets the "
            "file aside and computes it again",
            "other-version",
        )


def _sealed(line: Line) -> bool:
    return "sha256" in line or line.get("format") == SEALED


def _digest(texts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(texts)).hexdigest()


def _line(text: bytes, place: str, once: Callable[[Pairs], Line] | None) -> Line:
    try:
        line = json.loads(text.decode(), object_pairs_hook=once, parse_constant=lambda _: None)
    except RecursionError as error:
        raise DamagedError(place, "not a record (nested too deeply)", REMEDY) from error
    except json.JSONDecodeError as error:
        raise DamagedError(place, f"not JSON ({error.msg})", REMEDY) from error
    except ValueError as error:  # a key twice, no UTF-8, a number of thousands of digits
        raise DamagedError(place, f"not JSON ({error})"[:200], REMEDY) from error
    if not isinstance(line, dict):
        raise DamagedError(place, "not a record (it should be a JSON object)", REMEDY)
    return line


def _once(pairs: Pairs) -> Line:
    line = dict(pairs)
    if len(line) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice")
    return line


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: such a loss counts as not measured."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
