"""`ssbench data`: fetch a data set if possible, verify and describe it."""

from __future__ import annotations

import shutil
import urllib.request
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ssbench.cli.outputs import DataOutput, SplitFacts
from ssbench.data.dataset import DataSet
from ssbench.data.download import fetch
from ssbench.data.image_folder import Files
from ssbench.data.picture import BACKGROUND
from ssbench.data.registry import DATASETS, check, open_dataset
from ssbench.data.remarks import print_remarks
from ssbench.data.torchvision_sets import DEBIAN
from ssbench.errors import BadInputError
from ssbench.storage.files import make_folder

TIMEOUT = 30
"""Timeout in seconds for the network."""


def data(name: str, root: Path, console: Console) -> DataSet:
    """Fetch missing files of a data set, verify all files and return it; say what was fetched.

    Raises:
        BadInputError: it is unknown, cannot be fetched, or a file is wrong.
    """
    check(name, "data")
    source = DATASETS.get(name)
    files = source.files() if source else ()
    debian = name == "fashion-mnist" and all((DEBIAN / known.name).is_file() for known in files)
    if files and not debian and not _in_other_layout(name, root):
        make_folder(root / name, "--root")
        for path in fetch(files, root / name, name, _download):
            console.print(f"fetched {path}", soft_wrap=True, highlight=False)
    dataset = open_dataset(name, root, "data")
    for split in (dataset.train, dataset.validation, dataset.test):
        if isinstance(split, Files):
            split.verify()
    return dataset


def show(dataset: DataSet, console: Console) -> None:
    """Print a summary."""
    console.print(_table(dataset))
    print_remarks(dataset, console)


def output(dataset: DataSet) -> DataOutput:
    """Return the summary for ``--json``."""
    mean, sd = dataset.normalisation
    return DataOutput(
        name=dataset.name,
        image=list(dataset.train.image_shape),
        classes=dataset.classes,
        splits={split: _split(dataset, split) for split in ("train", "validation", "test")},
        mean=[value / 255 for value in mean.flatten().tolist()],
        sd=[value / 255 for value in sd.flatten().tolist()],
        fingerprint=dataset.fingerprint,
    )


def _split(dataset: DataSet, name: str) -> SplitFacts:
    part = getattr(dataset, name)
    per_class = part.labels.bincount(minlength=dataset.classes)
    return SplitFacts(images=len(part), fewest=int(per_class.min()), most=int(per_class.max()))


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


def _table(dataset: DataSet) -> Table:
    table = Table("", "", title=dataset.name, show_header=False)
    table.add_row("image", " x ".join(map(str, dataset.train.image_shape)))
    table.add_row("classes", str(dataset.classes))
    for split in ("train", "validation", "test"):
        part = getattr(dataset, split)
        per_class = part.labels.bincount(minlength=dataset.classes)
        spread = f"{int(per_class.min()):,} to {int(per_class.max()):,} of each class"
        table.add_row(f"{split} images", f"{len(part):,} ({spread})")
    mean, sd = dataset.normalisation
    table.add_row("mean", ", ".join(f"{value / 255:.4f}" for value in mean.flatten().tolist()))
    table.add_row("standard deviation", ", ".join(f"{v / 255:.4f}" for v in sd.flatten().tolist()))
    standard = dataset.standard
    shift = "random crop" if isinstance(dataset.train, Files) else f"shift {standard.shift}"
    table.add_row("augmentation", f"{shift}, {'flip' if standard.flip else 'no flip'}")
    for rule, count in _converted(dataset).items():
        table.add_row(rule, f"{count:,} images")
    table.add_row("fingerprint", dataset.fingerprint)
    return table


def _converted(dataset: DataSet) -> Counter[str]:
    """Count the images of a folder that each rule of `ssbench.data.picture` changes."""
    said = {
        "grey": "16 bits or floats, scaled",
        "transparent": f"transparent, on {BACKGROUND}",
        "turned": "rotated as EXIF says",
    }
    splits = [s for s in (dataset.train, dataset.validation, dataset.test) if isinstance(s, Files)]
    seen = [each for s in splits if not s.plain for each in s.found.values()]
    return Counter(said[rule] for each in seen for rule in each.rules)
