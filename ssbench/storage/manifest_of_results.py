"""What all records of a folder share, as `ssbench run` wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssbench.storage.jsonl import read_manifest


def manifest(folder: Path) -> dict[str, Any]:
    """Read what all records of a folder share; empty if `ssbench run` did not write it.

    Raises:
        BadInputError: the file is damaged.
    """
    path = folder / "experiment.json"
    return read_manifest(path) if path.exists() else {}


def recipe_of(folder: Path) -> str:
    """Return the training recipes of a folder's runs as text; empty if unknown.

    Leaves out settings that are off: an older version may not have had them.
    """
    settings = flat(manifest(folder))
    recipes = {
        key: value
        for key, value in settings.items()
        if value and key.partition(".")[0] in ("train", "finetune")
    }
    return json.dumps(recipes, sort_keys=True) if recipes else ""


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under keys with dots: train.epochs."""
    by_path: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            by_path |= flat(value, f"{prefix}{key}.")
        else:
            by_path[prefix + key] = value
    return by_path
