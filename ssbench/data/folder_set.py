"""A folder of images by class as a data set; ImageNet is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ssbench.data.dataset import Augmentation, DataSet
from ssbench.data.image_folder import splits


def imagenet(root: Path) -> DataSet:
    """ImageNet-1k, 224 pixels (Russakovsky et al. 2015): 1,271,167 / 10,000 / 50,000.

    It needs an account at image-net.org, so ssbench cannot fetch it: unpack it to
    ``ROOT/imagenet/train/CLASS/*.JPEG`` and ``ROOT/imagenet/val/CLASS/*.JPEG``.
    """
    return folder(root / "imagenet", "imagenet", "dataset", root, plain=True)


def folder(root: Path, name: str, place: str, keep: Path, *, plain: bool = False) -> DataSet:
    """Open a folder of images by class, with `ssbench.data.preprocessing.STANDARD`.

    ``keep`` is the folder of all data sets; ``plain`` as in `ssbench.data.image_folder.Files`.

    Raises:
        BadInputError: the folder is not laid out as `ssbench.data.image_folder` says.
    """
    found = splits(root, place)
    train, validation, test = (
        replace(part, plain=plain, keep=keep)
        for part in (found.train, found.validation, found.test)
    )
    standard = Augmentation(1, True)
    return DataSet(name, found.classes, train, validation, test, standard, remarks=found.remarks)
