"""What a worker on another machine needs: the data set, methods from files, published weights.

Nothing but the images of a folder has to lie on its disk: what is in memory here is sent once, and
a folder's list of files (which takes minutes to make anew on a network's disk) is sent instead of
the images, with the sizes of some of them, so that another folder of that name is told apart.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssbench.data.dataset import DataSet
from ssbench.data.download import data_root
from ssbench.data.image_folder import Files
from ssbench.errors import BadInputError
from ssbench.method.registry import import_one
from ssbench.models.pretrained import weights_folder

SAMPLED = 50
"""So many files of a split are looked at on each machine, evenly spread."""


@dataclass(frozen=True)
class Shipment:
    """A data set on its way.

    Attributes:
        root: where a folder of images lies on the machine that sends it; else None.
        below: its path below the folder of all data sets, where it lies in there.
        sizes: in bytes, of some of its files by their path below ``root``.
    """

    dataset: DataSet
    root: Path | None
    below: Path | None
    sizes: Mapping[str, int]


def pack(dataset: DataSet, sets: Path) -> Shipment:
    """Pack a data set; ``sets`` is the folder of all data sets."""
    if not isinstance(dataset.train, Files):
        return Shipment(dataset, None, None, {})
    root = dataset.train.root.absolute()
    inside = root.is_relative_to(sets.absolute())
    below = root.relative_to(sets.absolute()) if inside else None
    sizes = {path: (root / path).stat().st_size for path in _sampled(_splits(dataset))}
    return Shipment(dataset, root, below, sizes)


def unpack(shipment: Shipment) -> DataSet:
    """The data set on this machine.

    A folder of images is looked for where it lies on the machine that sent it, then in this
    machine's own folder of data sets.

    Raises:
        BadInputError: it is in neither, or other images are there.
    """
    if shipment.root is None:
        return shipment.dataset
    places = [shipment.root]
    if shipment.below is not None:
        places.append(data_root(None) / shipment.below)
    host = socket.gethostname()
    root = next((place for place in places if place.is_dir()), None)
    if root is None:
        asked = " nor ".join(map(str, places))
        raise BadInputError(
            f"{host} has no folder {asked}: put the images there on every node, or on a disk that "
            "all of them share; or name their folder in $SSBENCH_DATA where Ray is started"
        )
    for path, size in shipment.sizes.items():
        there = root / path
        if not there.is_file() or there.stat().st_size != size:
            raise BadInputError(f"{there} on {host}: missing, or not the driver's; copy it anew")
    parts = {
        name: replace(split, root=root)
        for name, split in zip(
            ("train", "validation", "test"), _splits(shipment.dataset), strict=True
        )
    }
    return replace(shipment.dataset, **parts)  # type: ignore[arg-type]


def read_methods(paths: Iterable[Path]) -> tuple[tuple[str, bytes], ...]:
    """The files of methods by their names."""
    return tuple((path.name, path.read_bytes()) for path in paths)


def import_method(files: Sequence[tuple[str, bytes]], module: str) -> None:
    """Define one of the methods of `read_methods` in this process, by the name that it has there.

    Raises:
        BadInputError: it cannot be imported.
    """
    with tempfile.TemporaryDirectory(prefix="ssbench-") as folder:
        paths = [Path(folder) / name for name, _ in files]
        for path, (_, content) in zip(paths, files, strict=True):
            path.write_bytes(content)
        import_one(module, paths)


def keep_weights(name: str, content: bytes) -> None:
    """Put a file of published weights where this machine looks for it; it is verified there."""
    folder = weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"part-{os.getpid()}-{name}"
    part.write_bytes(content)
    part.replace(folder / name)


def _splits(dataset: DataSet) -> list[Files]:
    splits = (dataset.train, dataset.validation, dataset.test)
    return [split for split in splits if isinstance(split, Files)]


def _sampled(splits: Iterable[Files]) -> list[str]:
    return [path for s in splits for path in s.paths[:: max(len(s.paths) // SAMPLED, 1)]]
