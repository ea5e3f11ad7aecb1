"""Send workers on other machines the data set, methods from files and first weights.

The text of a network's file travels with each stage (`ssbench.models.own.Code`).

A worker's disk must hold only the images of a folder. A data set in memory is sent once. For a
folder, the list of files is sent (listing it again on a network disk takes minutes) with the sizes
of some files, which reveal a different folder of the same name.
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
"""Files of a split to check on each machine, evenly spread."""


@dataclass(frozen=True)
class Shipment:
    """A data set to send to workers.

    Attributes:
        root: the sender's path of a folder of images; None for a data set in memory.
        below: its path below the folder of all data sets; None if it lies elsewhere.
        sizes: bytes of some of its files, by path below ``root``.
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
    """Return the data set on this machine.

    Looks for a folder of images at the sender's path, then in this machine's folder of data sets.

    Raises:
        BadInputError: neither exists, or it holds other images.
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
            f"{host} has no folder {asked}: put the images there on every node, or on a shared "
            "disk; or set $SSBENCH_DATA to their folder where Ray is started"
        )
    for path, size in shipment.sizes.items():
        there = root / path
        if not there.is_file() or there.stat().st_size != size:
            raise BadInputError(f"{there} on {host}: missing, or not the driver's; copy it again")
    parts = {
        name: replace(split, root=root)
        for name, split in zip(
            ("train", "validation", "test"), _splits(shipment.dataset), strict=True
        )
    }
    return replace(shipment.dataset, **parts)  # type: ignore[arg-type]


def read_methods(paths: Iterable[Path]) -> tuple[tuple[str, bytes], ...]:
    """Read the files of methods, by name."""
    return tuple((path.name, path.read_bytes()) for path in paths)


def import_method(files: Sequence[tuple[str, bytes]], module: str) -> None:
    """Define one of the methods of `read_methods` in this process, under the same name.

    Raises:
        BadInputError: it cannot be imported.
    """
    with tempfile.TemporaryDirectory(prefix="ssbench-") as folder:
        paths = [Path(folder) / name for name, _ in files]
        for path, (_, content) in zip(paths, files, strict=True):
            path.write_bytes(content)
        import_one(module, paths)


def keep_weights(name: str, content: bytes) -> None:
    """Store a file of weights in torch's folder, where `fetch` verifies it."""
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
