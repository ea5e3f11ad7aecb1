"""Data sets on the disk: small files in the exact formats, whole and damaged."""

import gc
import gzip
import hashlib
import io
import multiprocessing
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.datasets.mnist import read_image_file, read_label_file
from torchvision.transforms import v2

from ssbench.data.dataset import Augmentation, DataSet, Split
from ssbench.data.download import Known, data_root, fetch
from ssbench.data.folder_loader import FolderLoader
from ssbench.data.image_folder import Files
from ssbench.data.registry import open_dataset
from ssbench.data.torchvision_sets import (
    DEBIAN,
    cifar10,
    cifar100,
    cifar_files,
    fashion_mnist,
    idx_files,
    mnist,
    svhn,
    svhn_files,
)
from ssbench.errors import BadInputError
from tests.support.command_line import Invoke
from tests.support.pictures import make_pictures, opened

Make = Callable[[Path], list[Known]]
RANDOM = np.random.RandomState(1)
TRAIN, TEST = 40, 20
LABELS = np.arange(TRAIN) % 10


def known(folder: Path, name: str, content: bytes) -> Known:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return Known(name, hashlib.md5(content, usedforsecurity=False).hexdigest())


def idx(values: NDArray[Any]) -> bytes:
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def make_mnist(root: Path, labels: NDArray[Any] = LABELS) -> list[Known]:
    parts = (
        RANDOM.randint(0, 256, (TRAIN, 28, 28)), labels,
        RANDOM.randint(0, 256, (TEST, 28, 28)), LABELS[:TEST],
    )  # fmt: skip
    names = [file.name for file in idx_files(False)]
    return [known(root / "mnist", n, idx(part)) for n, part in zip(names, parts, strict=True)]


def make_cifar(root: Path, classes: int = 10, labels: NDArray[Any] = LABELS) -> list[Known]:
    buffer = io.BytesIO()
    key = b"labels" if classes == 10 else b"fine_labels"
    stems = [f"data_batch_{i}" for i in range(1, 6)] if classes == 10 else ["train"]
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        parts = [*zip(stems, np.split(labels, len(stems)), strict=True)]
        for stem, some in [*parts, ("test_batch" if classes == 10 else "test", LABELS[:TEST])]:
            data = np.arange(len(some) * 3072).reshape(len(some), 3072) % 251
            batch = {b"data": data.astype(np.uint8), key: some.tolist()}
            content = pickle.dumps(batch, protocol=2)
            info = tarfile.TarInfo(f"cifar-python/{stem}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    name = cifar_files(classes)[0].name
    return [known(root / f"cifar{classes}", name, buffer.getvalue())]


def make_svhn(root: Path) -> list[Known]:
    found = []
    for file, count in zip(svhn_files(), (TRAIN, TEST), strict=True):
        buffer = io.BytesIO()
        labels = np.where(LABELS[:count] == 0, 10, LABELS[:count]).reshape(-1, 1)
        images = RANDOM.randint(0, 256, (32, 32, 3, count)).astype(np.uint8)
        savemat(buffer, {"X": images, "y": labels.astype(np.uint8)})
        found.append(known(root / "svhn", file.name, buffer.getvalue()))
    return found


SETS: list[tuple[str, Make, Callable[..., DataSet], tuple[int, int, int]]] = [
    ("mnist", make_mnist, mnist, (1, 28, 28)),
    ("cifar10", make_cifar, cifar10, (3, 32, 32)),
    ("cifar100", lambda root: make_cifar(root, 100), cifar100, (3, 32, 32)),
    ("svhn", make_svhn, svhn, (3, 32, 32)),
]
each = pytest.mark.parametrize(("name", "make", "open_", "shape"), SETS, ids=[s[0] for s in SETS])


@each
def test_files_in_the_exact_format_are_read(
    name: str, make: Make, open_: Any, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    files = make(tmp_path)
    dataset = open_(tmp_path, files)
    assert dataset.name == name
    assert dataset.train.image_shape == shape
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [36, 4, 20]
    held = torch.cat([dataset.train.labels, dataset.validation.labels]).sort().values
    assert held.tolist() == sorted(LABELS.tolist())
    assert dataset.test.labels.tolist() == LABELS[:TEST].tolist()
    assert open_(tmp_path, files).fingerprint == dataset.fingerprint


@each
@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing"])
def test_damaged_files_are_named_with_both_checksums(
    name: str, make: Make, open_: Any, shape: tuple[int, int, int], harm: str, tmp_path: Path
) -> None:
    files = make(tmp_path)
    assert open_(tmp_path, files).train.image_shape == shape
    path = tmp_path / name / files[-1].name
    content = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
        (tmp_path / name / files[0].name).write_bytes(b"" if len(files) == 1 else b"x")
    elif harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        open_(tmp_path, files)
    said = str(caught.value)
    assert f"ssbench data {name}" in said
    if harm != "missing":
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert str(path) in said
        assert files[-1].md5 in said
        assert found in said


def test_labels_outside_the_classes_are_refused(tmp_path: Path) -> None:
    files = make_cifar(tmp_path, labels=np.where(LABELS == 3, 12, LABELS))
    with pytest.raises(BadInputError, match=r"label 12 is outside 0 to 9; cifar10 has 10 classes"):
        cifar10(tmp_path, files)


def test_more_labels_than_images_are_refused(tmp_path: Path) -> None:
    files = make_mnist(tmp_path, labels=np.append(LABELS, 1))
    with pytest.raises(BadInputError, match=r"train-labels.*: 41 labels for 40 images"):
        mnist(tmp_path, files)


def test_an_idx_file_that_holds_less_than_it_says_is_refused(tmp_path: Path) -> None:
    files = make_mnist(tmp_path)
    short = gzip.compress(gzip.decompress(idx(LABELS))[:-3])
    files[1] = known(tmp_path / "mnist", files[1].name, short)
    with pytest.raises(BadInputError, match="says 40 values, but holds 37"):
        mnist(tmp_path, files)


def test_the_published_checksums_are_torchvisions() -> None:
    assert cifar_files(10)[0].md5 == CIFAR10.tgz_md5
    assert [file.md5[:8] for file in svhn_files()] == ["e26dedcc", "eb5a983b"]
    assert len({file.md5 for file in [*idx_files(True), *idx_files(False)]}) == 8


def test_a_repacked_file_counts_if_its_content_is_the_published_one(tmp_path: Path) -> None:
    files = make_mnist(tmp_path)
    images = tmp_path / "mnist" / files[0].name
    content = gzip.decompress(images.read_bytes())
    images.write_bytes(gzip.compress(content, compresslevel=1, mtime=5))
    with pytest.raises(BadInputError, match="not the published file"):
        mnist(tmp_path, files)
    files[0] = Known(files[0].name, files[0].md5, "", hashlib.sha256(content).hexdigest())
    assert len(mnist(tmp_path, files).train) == 36


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist_is_what_torchvision_reads(tmp_path: Path) -> None:
    dataset = fashion_mnist(tmp_path)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [
        55000, 5000, 10000,
    ]  # fmt: skip
    assert isinstance(dataset.test, Split)
    for kind, ours in (
        ("images-idx3", dataset.test.images[:, 0]),
        ("labels-idx1", dataset.test.labels),
    ):
        raw = tmp_path / kind
        raw.write_bytes(gzip.decompress((DEBIAN / f"t10k-{kind}-ubyte.gz").read_bytes()))
        theirs = (read_image_file if "images" in kind else read_label_file)(str(raw))
        assert torch.equal(ours, theirs)
    mean, sd = (float(v) / 255 for v in dataset.normalisation)
    assert mean == pytest.approx(0.2860, abs=3e-4)
    assert sd == pytest.approx(0.3530, abs=3e-4)


def test_nothing_is_left_half_fetched(tmp_path: Path) -> None:
    content = gzip.compress(b"all of it")
    file = Known("a.gz", hashlib.md5(content, usedforsecurity=False).hexdigest(), "http://a")

    def broken(_: str, path: Path) -> None:
        path.write_bytes(content[:9])
        raise OSError("the line is dead")

    def other(_: str, path: Path) -> None:
        path.write_bytes(gzip.compress(b"something else"))

    for download, says in ((broken, "the line is dead"), (other, "not the published file")):
        with pytest.raises(BadInputError, match=says):
            fetch([file], tmp_path / "set", "some", download)
        assert list((tmp_path / "set").iterdir()) == []
    fetched = fetch([file], tmp_path / "set", "some", lambda _, path: path.write_bytes(content))
    assert [path.name for path in fetched] == ["a.gz"]
    assert fetch([file], tmp_path / "set", "some", broken) == []  # there already


def test_without_the_files_it_is_said_where_they_go(invoke: Invoke, tmp_path: Path) -> None:
    for command in (
        ("run", "quickstart", "--set", "dataset=svhn", "--data-root", tmp_path),
        ("data", "svhn", "--root", tmp_path / "x"),
    ):
        ended = invoke(*command)
        assert ended.code == 2
        for file in svhn_files():
            assert file.name in ended.err
            assert file.md5 in ended.err
        assert "svhn" in ended.err
    ended = invoke("data", "imagenet", "--root", tmp_path)
    assert ended.code == 2
    assert "train/CLASS" in ended.err


def test_the_root_is_the_option_the_variable_or_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSBENCH_DATA", str(tmp_path))
    assert data_root(Path("x")) == Path("x")
    assert data_root(None) == tmp_path
    monkeypatch.delenv("SSBENCH_DATA")
    assert data_root(None) == Path.home() / ".cache" / "ssbench" / "data"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("pictures"))


def test_a_folder_is_three_splits_with_the_classes_of_torchvision(pictures: Path) -> None:
    dataset, _ = opened(pictures)
    assert dataset.classes == 3
    parts = (dataset.train, dataset.validation, dataset.test)
    assert [len(part) for part in parts] == [33, 3, 18]
    theirs = ImageFolder(str(pictures / "val"))
    assert isinstance(dataset.test, Files)
    ours = [
        (str(dataset.test.root / p), n)
        for p, n in zip(dataset.test.paths, dataset.test.labels.tolist(), strict=True)
    ]
    assert sorted(ours) == sorted(theirs.samples)
    assert not set(dataset.train.paths) & set(dataset.validation.paths)


def test_evaluation_sees_what_torchvisions_transforms_give(pictures: Path) -> None:
    dataset, train = opened(pictures)
    loader = FolderLoader(train, dataset.normalisation, 5)
    images, labels = next(loader.in_order())
    transform = v2.Compose([
        v2.Resize(256), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])  # fmt: skip
    for i in range(5):
        with Image.open(pictures / train.paths[i]) as image:
            torch.testing.assert_close(images[i], transform(image), atol=1e-4, rtol=1e-4)
    assert labels.tolist() == train.labels[:5].tolist()


def test_batches_depend_on_the_seed_and_not_on_the_workers(pictures: Path) -> None:
    dataset, train = opened(pictures)

    def batches(workers: int, seed: int) -> list[torch.Tensor]:
        loader = FolderLoader(train, dataset.normalisation, 16, workers=workers)
        generators = [torch.Generator().manual_seed(seed + i) for i in range(2)]
        return [images for images, _ in loader.shuffled(*generators)]

    before = torch.random.get_rng_state()
    first, second, other = batches(0, 1), batches(2, 1), batches(0, 2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [len(batch) for batch in first] == [16, 17]  # one image alone joins the batch before
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_augmentation_leaves_the_generators_of_gpus_alone(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gates and dropout draw from them: seeded for each image, they would draw the same again."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    dataset, train = opened(pictures)
    loader = FolderLoader(train, dataset.normalisation, 16, workers=0)
    assert list(loader.shuffled(torch.Generator(), torch.Generator()))
    assert seeded == []


def test_workers_stay_and_a_pass_does_not_depend_on_what_was_read_before(pictures: Path) -> None:
    dataset, train = opened(pictures)
    loader = FolderLoader(train, dataset.normalisation, 8, workers=2)

    def batches(loader: FolderLoader, seed: int) -> list[torch.Tensor]:
        generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
        return [images for images, _ in loader.shuffled(*generators)]

    def workers() -> set[int | None]:
        return {process.pid for process in multiprocessing.active_children()}

    others = workers()
    first = batches(loader, 1)
    mine = workers() - others
    assert len(mine) == 2
    next(loader.in_order())  # and the rest is left where it is
    nested = [batches(loader, 1) for _ in zip(range(2), loader.in_order(), strict=False)]
    for again in (batches(loader, 1), *nested):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert workers() - others == mine
    del loader
    gc.collect()
    assert not workers() & mine


def test_without_augmentation_training_sees_what_evaluation_sees(pictures: Path) -> None:
    dataset, train = opened(pictures)
    loader = FolderLoader(train, dataset.normalisation, 40, shift=0, flip=False)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    ((shuffled, _),) = loader.shuffled(*generators)
    ((ordered, _),) = loader.in_order()
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shuffled, ordered[order])


def test_a_changed_picture_changes_the_fingerprint(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "a", classes=2, count=6)
    before = opened(root)[0].fingerprint
    assert opened(root)[0].fingerprint == before
    path = root / "train" / "class1" / "0.jpg"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert opened(root)[0].fingerprint != before


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, invoke: Invoke) -> None:
    root = make_pictures(tmp_path / "a", classes=2, count=6)
    path = root / "train" / "class1" / "3.jpg"
    path.write_bytes(path.read_bytes()[:200])
    ended = invoke("data", f"imagefolder:{root}")
    assert ended.code == 2
    assert f"{path}: no image that can be read" in ended.out
    assert "1 of 18 images cannot be read; replace or remove them" in ended.out


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("no train", "train is not a folder of classes, but val is there"),
        ("classes", "different classes"),
        ("empty", "holds no image"),
    ],
)
def test_folders_laid_out_otherwise_are_refused(harm: str, says: str, tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "a", classes=2, count=6)
    if harm == "no train":
        (root / "train").rename(root / "training")
    elif harm == "classes":
        (root / "val" / "class1").rename(root / "val" / "other")
    else:
        for path in (root / "train" / "class0").iterdir():
            path.unlink()
    with pytest.raises(BadInputError, match=says):
        opened(root)


def test_an_unknown_name_has_near_ones() -> None:
    with pytest.raises(BadInputError, match=r"cifar10.*imagefolder:PATH"):
        open_dataset("cifar-10", Path())


def test_what_a_recipe_leaves_open_is_the_sets_standard(pictures: Path) -> None:
    dataset, _ = opened(pictures)
    assert dataset.standard == Augmentation(1, True)
    assert open_dataset("digits", Path()).standard == Augmentation()
    assert open_dataset("synthetic", Path()).standard == Augmentation(4, True)
