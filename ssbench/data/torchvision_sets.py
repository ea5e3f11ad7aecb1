"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN, from torchvision's files.

URLs and checksums come from torchvision's classes; every file is verified before use. A fixed
permutation (numpy's frozen RandomState, 0) selects the validation images among the training images.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssbench.data.dataset import Augmentation, DataSet, Split
from ssbench.data.download import Known, read
from ssbench.errors import BadInputError

Array = NDArray[Any]
VALIDATION = 5000
"""Images held out of the training images, as in network slimming (Liu et al. 2017)."""
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""The folder of Debian's package dataset-fashion-mnist."""
_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")  # fmt: skip
_FASHION_CONTENT = dict(
    zip(
        _IDX,
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        strict=True,
    )
)
"""SHA-256 of the unpacked files; Debian repacks them, so its .gz files differ."""


def idx_files(fashion: bool) -> list[Known]:
    """List the four files of MNIST or Fashion-MNIST."""
    from torchvision.datasets import MNIST, FashionMNIST

    source = FashionMNIST if fashion else MNIST
    content = _FASHION_CONTENT if fashion else {}
    return [
        Known(name, md5, source.mirrors[0] + name, content.get(name, ""))
        for name, md5 in source.resources
    ]


def cifar_files(classes: int) -> list[Known]:
    """List the archive of CIFAR-10 or CIFAR-100."""
    from torchvision.datasets import CIFAR10, CIFAR100

    source = CIFAR10 if classes == 10 else CIFAR100
    return [Known(source.filename, source.tgz_md5, source.url)]


def fashion_mnist_files() -> list[Known]:
    """List the four files of Fashion-MNIST."""
    return idx_files(True)


def mnist_files() -> list[Known]:
    """List the four files of MNIST."""
    return idx_files(False)


def cifar10_files() -> list[Known]:
    """List the archive of CIFAR-10."""
    return cifar_files(10)


def cifar100_files() -> list[Known]:
    """List the archive of CIFAR-100."""
    return cifar_files(100)


def svhn_files() -> list[Known]:
    """List the two files of SVHN's cropped digits, without the 531,131 extra images."""
    from torchvision.datasets import SVHN

    parts = (SVHN.split_list["train"], SVHN.split_list["test"])
    return [Known(name, md5, url) for url, name, md5 in parts]


def fashion_mnist(root: Path, files: Sequence[Known] | None = None) -> DataSet:
    """Clothes in grey, 28 pixels, ten classes (Xiao et al. 2017): 55,000 / 5,000 / 10,000."""
    folders = [root / "fashion-mnist", root / "FashionMNIST" / "raw", DEBIAN]
    # Mirroring keeps the class of clothes, but not of digits.
    return _idx("fashion-mnist", files or idx_files(True), folders, Augmentation(2, True))


def mnist(root: Path, files: Sequence[Known] | None = None) -> DataSet:
    """Handwritten digits in grey, 28 pixels (LeCun et al. 1998): 55,000 / 5,000 / 10,000."""
    folders = [root / "mnist", root / "MNIST" / "raw"]
    return _idx("mnist", files or idx_files(False), folders, Augmentation())


def cifar10(root: Path, files: Sequence[Known] | None = None) -> DataSet:
    """Photographs in colour, 32 pixels, ten classes (Krizhevsky 2009): 45,000 / 5,000 / 10,000."""
    return _cifar("cifar10", 10, root, files)


def cifar100(root: Path, files: Sequence[Known] | None = None) -> DataSet:
    """Photographs in colour, 32 pixels, 100 classes (Krizhevsky 2009): 45,000 / 5,000 / 10,000."""
    return _cifar("cifar100", 100, root, files)


def svhn(root: Path, files: Sequence[Known] | None = None) -> DataSet:
    """House numbers in colour, 32 pixels (Netzer et al. 2011): 68,257 / 5,000 / 26,032."""
    known = files or svhn_files()
    found = read(known, [root / "svhn", root], "svhn")
    parts = [_mat(found[k.name], k.name) for k in known]
    return _made("svhn", 10, parts, Augmentation(), [k.name for k in known])


def _idx(
    name: str, files: Sequence[Known], folders: Sequence[Path], standard: Augmentation
) -> DataSet:
    found = read(files, folders, name)
    parts = [
        (_unpacked(found[images], images)[:, None], _unpacked(found[labels], labels))
        for images, labels in ((_IDX[0], _IDX[1]), (_IDX[2], _IDX[3]))
    ]
    return _made(name, 10, parts, standard, [_IDX[1], _IDX[3]])


def _unpacked(content: bytes, name: str) -> Array:
    """Read the IDX format: a magic number with type and dimensions, sizes, then bytes."""
    dims = content[3] if len(content) > 3 else 0
    if content[:3] != b"\x00\x00\x08" or dims not in (1, 3):
        raise BadInputError(f"{name}: not an IDX file of bytes")
    sizes = np.frombuffer(content, ">u4", dims, 4).astype(int)
    body = np.frombuffer(content, np.uint8, -1, 4 + 4 * dims)
    if body.size != sizes.prod():
        raise BadInputError(
            f"{name}: says {' x '.join(map(str, sizes))} values, but holds {body.size}"
        )
    return body.reshape(sizes)


def _cifar(name: str, classes: int, root: Path, files: Sequence[Known] | None) -> DataSet:
    known = files or cifar_files(classes)
    found = read(known, [root / name, root], name)[known[0].name]
    batches = _pickles(found, known[0].name)
    key = b"labels" if classes == 10 else b"fine_labels"
    train = sorted(n for n in batches if n.startswith(("data_batch_", "train")))
    test = sorted(n for n in batches if n.startswith("test"))
    parts = [
        (
            np.concatenate([batches[n][b"data"] for n in names]).reshape(-1, 3, 32, 32),
            np.concatenate([np.asarray(batches[n][key]) for n in names]),
        )
        for names in (train, test)
    ]
    return _made(name, classes, parts, Augmentation(4, True), [known[0].name] * 2)


def _pickles(archive: bytes, name: str) -> dict[str, Mapping[bytes, Any]]:
    """Read the batches of a verified CIFAR archive."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar.getmembers():
                stem = Path(member.name).name
                file = tar.extractfile(member)
                if file and stem.startswith(("data_batch_", "test", "train")):
                    found[stem] = pickle.load(file, encoding="bytes")  # noqa: S301 -- verified
    except (tarfile.TarError, pickle.UnpicklingError, EOFError) as error:
        raise BadInputError(f"{name}: cannot be read ({error})") from error
    return found


def _mat(content: bytes, name: str) -> tuple[Array, Array]:
    """Read images [32, 32, 3, N] and labels 1 to 10 (10: the digit 0) of a MATLAB file."""
    from scipy.io import loadmat

    try:
        found = loadmat(io.BytesIO(content))
        images, labels = found["X"], found["y"].reshape(-1).astype(np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{name}: cannot be read ({error})") from error
    return images.transpose(3, 2, 0, 1), np.where(labels == 10, 0, labels)


def _made(
    name: str,
    classes: int,
    parts: Sequence[tuple[Array, Array]],
    standard: Augmentation,
    files: Sequence[str],
) -> DataSet:
    """Check images and labels, and hold out the validation images."""
    for (images, labels), file in zip(parts, files, strict=True):
        if len(images) != len(labels):
            raise BadInputError(f"{file}: {len(labels)} labels for {len(images)} images")
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise BadInputError(
                f"{file}: label {wrong[0]} is outside 0 to {classes - 1}; {name} has {classes} "
                "classes"
            )
    (images, labels), test = parts
    order = np.random.RandomState(0).permutation(len(images))
    held = min(VALIDATION, len(images) // 10)
    train, validation = (_split(images[o], labels[o]) for o in (order[held:], order[:held]))
    return DataSet(name, classes, train, validation, _split(*test), standard)


def _split(images: Array, labels: Array) -> Split:
    pixels = torch.from_numpy(np.array(images, order="C"))  # arrays from bytes are read-only
    return Split(pixels, torch.from_numpy(labels.astype(np.int64)))
