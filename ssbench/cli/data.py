"""`ssbench data`: fetch a data set if possible, verify and describe it."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from ssbench.cli.data_output import ClassFacts, DataOutput, SizeFacts
from ssbench.data.download import fetch
from ssbench.data.own.describe import describe
from ssbench.data.own.saved import MARKS
from ssbench.data.own.settings import DataSettings
from ssbench.data.picture import BACKGROUND, shown
from ssbench.data.registry import DATASETS, check, open_dataset
from ssbench.data.torchvision_sets import DEBIAN
from ssbench.errors import BadInputError, wrong
from ssbench.experiment.overrides import override
from ssbench.storage.files import make_folder

TIMEOUT = 30
"""Timeout in seconds for the network."""
MOST_CLASSES, MOST_SIZES, MOST_UNREADABLE = 20, 5, 20
"""Number of lines of each kind; ``--json`` has all."""
CONVERTED = {
    "grey": "16 bits or floats, scaled",
    "transparent": f"transparent, on {BACKGROUND}",
    "turned": "rotated as EXIF says",
}


def data(name: str, root: Path, console: Console, overrides: Sequence[str]) -> DataOutput:
    """Fetch missing files of a data set, verify all files and describe them.

    Args:
        name: of a data set, or the path of images of one's own.
        root: the folder of all data sets.
        console: is told what was fetched.
        overrides: ``key=value`` of the table ``[data]``.

    Raises:
        BadInputError: it is unknown, cannot be fetched, or a file is wrong.
    """
    name, settings = named(name), _settings(overrides)
    check(name, "data")
    source = DATASETS.get(name)
    files = source.files() if source else ()
    debian = name == "fashion-mnist" and all((DEBIAN / known.name).is_file() for known in files)
    if files and not debian and not _in_other_layout(name, root):
        make_folder(root / name, "--root")
        for path in fetch(files, root / name, name, _download):
            console.print(f"fetched {path}", soft_wrap=True, highlight=False)
    return DataOutput.model_validate(describe(name, root, settings))


def show(found: DataOutput, console: Console) -> None:
    """Print a summary."""
    table = Table("", "", title=shown(Path(found.name)), show_header=False)
    for key, value in _lines(found):
        table.add_row(key, value)
    console.print(table)
    for line in found.warnings:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for each in found.unreadable[:MOST_UNREADABLE]:
        console.print(f"  {each.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(found.unreadable) > MOST_UNREADABLE:
        console.print("  … (--json names all)")


def named(name: str) -> str:
    """Return the name of a data set in an experiment, of a name or a path."""
    path = Path(name).expanduser()
    if name in DATASETS or not path.exists():
        return name
    if path.is_dir():
        saved = any((path / mark).is_file() for mark in MARKS)
        return f"{'hf' if saved else 'imagefolder'}:{name}"
    return f"npz:{name}" if path.suffix == ".npz" else name


def _settings(overrides: Sequence[str]) -> DataSettings:
    content: dict[str, Any] = {}
    for each in overrides:
        override(content, each)
    try:
        return DataSettings.model_validate(content.get("data", {}) | _without(content, "data"))
    except ValidationError as error:
        raise BadInputError(f"--set: {wrong(error)}") from error


def _without(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def _in_other_layout(name: str, root: Path) -> bool:
    """Whether the files are in torchvision's layout, which is read too."""
    try:
        open_dataset(name, root)
    except BadInputError:
        return False
    return True


def _download(url: str, path: Path) -> None:
    if not url.startswith(("http://", "https://")):
        raise OSError("no address is known")
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT) as answer,  # noqa: S310 -- checked above
        path.open("wb") as file,
    ):
        shutil.copyfileobj(answer, file)


def _lines(found: DataOutput) -> list[tuple[str, str]]:
    lines = [("image", " x ".join(map(str, found.image)))] if found.image else []
    lines.append(("classes", str(found.classes)))
    for split, part in found.splits.items():
        spread = f"{part.fewest:,} to {part.most:,} of each class"
        lines.append((f"{split} images", f"{part.images:,} ({spread})"))
    lines += _of_each_class(found.of_each_class)
    lines += [("sizes", text) for text in _of_sizes(found.sizes)]
    for name, values in (("mean", found.mean), ("standard deviation", found.sd)):
        if values:
            lines.append((name, ", ".join(f"{value:.4f}" for value in values)))
    where = {True: "decoded once", False: "read from disk for each batch"}
    if "memory" in (found.prepared or {}):
        lines.append(("in memory", where[(found.prepared or {})["memory"]]))
    if found.shift is not None:
        shift = "random crop" if found.preprocessing else f"shift {found.shift}"
        lines.append(("augmentation", f"{shift}, {'flip' if found.flip else 'no flip'}"))
    lines += [(CONVERTED[rule], f"{n:,} images") for rule, n in (found.converted or {}).items()]
    for each in found.samples or ():
        image = shown(Path(each.image))
        said = f"{each.split}: {image} ({each.label}), SHA-256 {each.sha256[:16]}…"
        lines.append(("sample", said))
    return [*lines, *([("fingerprint", found.fingerprint)] if found.fingerprint else [])]


def _of_each_class(classes: Sequence[ClassFacts]) -> list[tuple[str, str]]:
    if [each.name for each in classes] == [str(label) for label in range(len(classes))]:
        return []  # names that say nothing
    lines = [
        ("class", f"{each.name!r}: {each.train:,} / {each.validation:,} / {each.test:,}")
        for each in classes[:MOST_CLASSES]
    ]
    return [*lines, *([("class", "… (--json names all)")] if len(classes) > MOST_CLASSES else [])]


def _of_sizes(sizes: Sequence[SizeFacts]) -> list[str]:
    lines = [f"{each.height} x {each.width}: {each.images:,} images" for each in sizes[:MOST_SIZES]]
    return [*lines, *([f"and {len(sizes) - MOST_SIZES} more"] if len(sizes) > MOST_SIZES else [])]
