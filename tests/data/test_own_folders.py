"""Folders of one's own: their layouts, sizes and memory, and what each setting changes."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssbench.data import image_folder, picture, survey
from ssbench.data.dataset import Augmentation, DataSet, Split
from ssbench.data.folder_loader import FolderLoader
from ssbench.data.image_folder import Files
from ssbench.data.own import decoded, folder
from ssbench.data.own.divide import TEST, VALIDATION, divide
from ssbench.data.own.settings import DataSettings
from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.data.registry import open_dataset
from ssbench.data.remarks import remarks
from ssbench.errors import BadInputError
from tests.support.pictures import exif


def noise(seed: int, height: int = 12, width: int = 10) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def made(root: Path, parts: dict[str, int], size: tuple[int, int] = (12, 10)) -> Path:
    """Write this number of different images of two classes into each part; "" is the folder."""
    seed = 0
    for part, count in parts.items():
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                noise(seed, *size).save(root / part / name / f"{number:02}.png")
                seed += 1
    return root


@pytest.fixture
def keep(tmp_path: Path) -> Path:
    return tmp_path / "sets"


def opened(root: Path, keep: Path, **settings: Any) -> DataSet:
    return open_dataset(
        f"imagefolder:{root}", keep, "x.toml: dataset", DataSettings.model_validate(settings)
    )


def counts(dataset: DataSet) -> list[int]:
    return [len(part) for part in (dataset.train, dataset.validation, dataset.test)]


def refused(root: Path, keep: Path, **settings: Any) -> str:
    with pytest.raises(BadInputError) as caught:
        opened(root, keep, **settings)
    return str(caught.value)


LAYOUTS: dict[str, tuple[dict[str, int], dict[str, Any], list[int]]] = {
    "classes alone": ({"": 20}, {}, [32, 4, 4]),
    "classes alone, shares": ({"": 20}, {"test": 0.25, "validation": 0.2}, [22, 8, 10]),
    "train alone": ({"train": 20}, {}, [32, 4, 4]),
    "train and test": ({"train": 20, "test": 3}, {}, [36, 4, 6]),
    "train and val": ({"train": 20, "val": 3}, {}, [36, 4, 6]),
    "train and val, a share for validation": (
        {"train": 20, "val": 3}, {"validation": 0.25}, [30, 10, 6]
    ),
    "train and val, a share for testing": ({"train": 20, "val": 3}, {"test": 0.25}, [30, 6, 10]),
    "all three": ({"train": 20, "val": 3, "test": 4}, {}, [40, 6, 8]),
    "all three, as others call it": ({"train": 20, "valid": 3, "test": 4}, {}, [40, 6, 8]),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_three_splits(layout: str, tmp_path: Path, keep: Path) -> None:
    parts, settings, expected = LAYOUTS[layout]
    dataset = opened(made(tmp_path / "x", parts), keep, **settings)
    assert counts(dataset) == expected
    for part in (dataset.train, dataset.validation, dataset.test):
        assert len(set(part.labels.bincount().tolist())) == 1  # stratified
    files = dataset.origin
    assert files is not None
    paths = [path for part in files for path in part.paths]
    assert len(set(paths)) == sum(parts.values()) * 2 == len(paths)
    assert dataset.names == ("cat", "dog")


def test_a_choice_of_images_depends_on_its_seed_alone(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"": 20})

    def tested(**settings: Any) -> tuple[str, ...]:
        dataset = opened(root, keep, **settings)
        assert dataset.origin is not None
        return dataset.origin[2].paths

    assert tested() == tested() == tested(seed=0)
    assert tested() != tested(seed=1)
    # More validation images leave the test images alone.
    assert tested() == tested(validation=0.3)
    assert opened(root, keep).fingerprint != opened(root, keep, seed=1).fingerprint
    assert (
        "chose 10 % for validation and 10 % for test of each class, at random (data.seed = 0)"
        in (" ".join(opened(root, keep).remarks))
    )


def test_small_classes_keep_an_image_for_training() -> None:
    labels = np.array([0] + [1] * 2 + [2] * 3 + [3] * 100)
    parts = divide(labels, 0.1, 0.1, 0)
    of_class = [Counter(parts[labels == label].tolist()) for label in range(4)]
    assert of_class == [{0: 1}, {0: 1, TEST: 1}, {0: 1, TEST: 1, VALIDATION: 1},
                        {0: 80, TEST: 10, VALIDATION: 10}]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "settings", "says"),
    [
        ({"train": 4, "test": 2}, {"test": 0.2}, "x.toml: data.test: "),
        ({"train": 4, "val": 2, "test": 2}, {"validation": 0.2}, "x.toml: data.validation: "),
        ({"train": 4, "val": 2}, {"validation": 0.2, "test": 0.2}, "is the validation split"),
        ({"val": 4}, {}, "train is not a folder of classes, but val is there"),
        ({"train": 4, "val": 2, "valid": 2}, {}, "has both val and valid; keep one"),
        ({"": 1}, {}, "none can be held out for validation; add some"),
        ({"": 3}, {"label": "x"}, "data.label: only a saved data set has columns; remove"),
    ],
)
def test_settings_that_contradict_the_folder_are_refused(
    parts: dict[str, int], settings: dict[str, Any], says: str, tmp_path: Path, keep: Path
) -> None:
    assert says in refused(made(tmp_path / "x", parts), keep, **settings)


def test_a_class_called_train_is_a_class(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"": 10})
    (root / "dog").rename(root / "train")
    assert opened(root, keep).names == ("cat", "train")


def test_small_images_keep_their_size_and_stay_in_memory(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 10, "test": 2})
    dataset = opened(root, keep)
    assert isinstance(dataset.train, Split)
    assert dataset.train.image_shape == (3, 12, 10)
    assert dataset.standard == Augmentation(1, True)
    assert dataset.on_disk is None
    files = dataset.origin
    assert files is not None
    for part, its in zip((dataset.train, dataset.validation, dataset.test), files, strict=True):
        for image, path in zip(part.images, its.paths, strict=True):
            with Image.open(root / path) as stored:
                assert np.array_equal(image.permute(1, 2, 0), np.asarray(stored))
    mean, _ = dataset.normalisation
    assert torch.allclose(mean.flatten(), dataset.train.images.float().mean((0, 2, 3)))


def test_photographs_are_read_as_before(tmp_path: Path, keep: Path) -> None:
    train = opened(made(tmp_path / "x", {"train": 6, "val": 2}, (140, 20)), keep).train
    assert isinstance(train, Files)
    assert train.preprocessing == STANDARD


@pytest.mark.parametrize(
    ("settings", "shape", "how"),
    [
        ({"size": 8}, (8, 8), Preprocessing((8,), 8)),
        ({"size": [6, 9]}, (6, 9), Preprocessing((6, 9), (6, 9))),
        ({"size": [8, 8]}, (8, 8), Preprocessing((8, 8), 8)),
        ({"size": "native"}, (140, 20), Preprocessing((140, 20), (140, 20))),
    ],
)
def test_images_in_memory_are_those_that_evaluation_would_read(
    settings: dict[str, Any], shape: tuple[int, int], how: Preprocessing, tmp_path: Path, keep: Path
) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2}, (140, 20))
    there, read = opened(root, keep, **settings), opened(root, keep, memory=False, **settings)
    assert isinstance(read.train, Files)
    assert read.train.preprocessing == how
    assert there.train.image_shape == read.train.image_shape == (3, *shape)
    ((images, labels),) = FolderLoader(read.train, (torch.zeros(3, 1, 1), torch.ones(3, 1, 1)), 99,
                                       workers=0).in_order()  # fmt: skip
    assert torch.equal(images, there.train.images.float())
    assert torch.equal(labels, there.train.labels)


def test_photographs_go_into_memory_if_asked(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 4, "val": 2}, (140, 30))
    dataset = opened(root, keep, memory=True)
    assert isinstance(dataset.train, Split)
    assert dataset.train.image_shape == (3, 224, 224)
    ((images, _),) = FolderLoader(opened(root, keep).validation,
                                  (torch.zeros(3, 1, 1), torch.ones(3, 1, 1)), 9,
                                  workers=0).in_order()  # fmt: skip
    assert torch.equal(images, dataset.validation.images.float())


def test_what_does_not_fit_stays_on_disk_at_its_size(
    tmp_path: Path, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path / "x", {"train": 10, "test": 2}, (16, 16))
    monkeypatch.setattr(folder, "FITS", 24 * 3 * 16 * 16 - 1)
    train = opened(root, keep).train
    assert isinstance(train, Files)
    assert train.preprocessing == Preprocessing((16,), 16)
    assert isinstance(opened(root, keep, memory=True).train, Split)
    monkeypatch.setattr(folder, "FITS", 24 * 3 * 16 * 16)
    assert isinstance(opened(root, keep).train, Split)


def test_small_images_of_several_sizes(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    noise(99, 20, 30).save(root / "train/dog/99.png")
    dataset = opened(root, keep)
    assert dataset.on_disk == STANDARD
    assert (
        "2 sizes from 12 x 10 to 20 x 30 pixels, and are resized to 224; data.size = N keeps"
        in (dataset.remarks[-1])
    )
    for memory in ("auto", False):
        said = refused(root, keep, size="native", memory=memory)
        assert (
            "x.toml: data.size: native images must have one size, but they have 2 sizes from"
            in said
        )
    assert opened(root, keep, size=8).train.image_shape == (3, 8, 8)


def test_what_is_kept_is_read_again_and_verified(
    tmp_path: Path, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    noise(1).convert("RGBA").save(root / "train/cat/00.png")
    noise(2, 10, 12).save(root / "train/cat/01.png", exif=exif(6))  # 12 x 10 when upright
    first = opened(root, keep)
    calls = []
    real = picture.decode

    def counted(path: Path, content: bytes | None = None) -> Any:
        calls.append(path)
        return real(path, content)

    monkeypatch.setattr(decoded, "decode", counted)
    again = opened(root, keep)
    assert calls == []
    assert again.fingerprint == first.fingerprint
    assert again.origin is not None
    assert again.origin[0].found == first.origin[0].found != {}
    kept = sorted((keep / decoded.FOLDER).iterdir())
    assert len(kept) == 3
    for path in kept:  # one bit of a pixel
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert opened(root, keep).fingerprint == first.fingerprint
    assert len(calls) == 16
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    assert opened(root, keep).fingerprint == first.fingerprint
    assert len(calls) == 32
    assert opened(root, keep).fingerprint == first.fingerprint
    assert len(calls) == 32  # written anew each time
    noise(98).save(root / "train/cat/02.png")
    assert opened(root, keep).fingerprint != first.fingerprint


def test_a_killed_process_leaves_nothing_that_counts(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    (keep / decoded.FOLDER).mkdir(parents=True)
    left = keep / decoded.FOLDER / "part-1-x.safetensors"
    left.write_bytes(b"half")
    opened(root, keep)
    assert left.exists()  # its process may still write
    ago = time.time() - 2 * decoded.ABANDONED
    os.utime(left, (ago, ago))
    noise(98).save(root / "train/cat/02.png")
    opened(root, keep)
    assert not left.exists()


def test_without_a_folder_to_keep_them_images_are_decoded_each_time(
    tmp_path: Path, keep: Path
) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    keep.write_text("a file where the folder should be")
    assert opened(root, keep).fingerprint == opened(root, tmp_path / "other").fingerprint


@pytest.mark.parametrize("settings", [{}, {"size": 8}, {"memory": True}])
def test_unreadable_images_are_named(settings: dict[str, Any], tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 8, "val": 2})
    bad = [root / "train/cat/03.png", root / "train/dog/05.png", root / "val/cat/00.png"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:90])
    said = refused(root, keep, **settings)
    assert "2 images cannot be used" in said or "cannot be read" in said
    assert any(str(path) in said for path in bad)
    assert not list(keep.glob(f"{decoded.FOLDER}/*"))


def test_every_kind_of_small_image_works(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x" / "été 画像 a b", {"train": 12, "val": 2}, (12, 12))
    cat = root / "train" / "cat"
    noise(1, 12, 12).convert("L").save(cat / "00.png")
    deep = np.random.RandomState(0).randint(0, 65536, (12, 12)).astype(np.uint16)
    Image.fromarray(deep).save(cat / "01.png")
    noise(2, 12, 12).convert("P").save(cat / "02.png")
    faint = noise(3, 12, 12).convert("RGBA")
    faint.putalpha(0)
    faint.save(cat / "03.png")
    noise(4, 12, 12).convert("CMYK").save(cat / "c.jpg")
    noise(5, 12, 12).save(cat / "t.jpg", exif=exif(3))
    noise(6, 12, 12).save(cat / "g.gif", save_all=True, append_images=[noise(7, 12, 12)])
    noise(8, 12, 12).save(tmp_path / "outside.png")
    (cat / "link.png").symlink_to(tmp_path / "outside.png")
    dataset = opened(root, keep)
    assert dataset.origin is not None
    images = {
        path: image
        for part, files in zip(
            (dataset.train, dataset.validation, dataset.test), dataset.origin, strict=True
        )
        for path, image in zip(files.paths, part.images, strict=True)
    }
    grey = (deep.astype(np.uint64) * 255 + 32767) // 65535
    assert np.array_equal(images["train/cat/01.png"], np.stack([grey] * 3))
    assert (images["train/cat/03.png"] == 255).all()  # transparent: white
    with Image.open(cat / "t.jpg") as stored:
        turned = np.asarray(stored.convert("RGB"))[::-1, ::-1]
    assert np.array_equal(images["train/cat/t.jpg"].permute(1, 2, 0), turned)
    assert np.array_equal(images["train/cat/link.png"].permute(1, 2, 0), noise(8, 12, 12))
    assert "only the first frame or page counts of 1 images" in " ".join(remarks(dataset))


def test_a_turned_photograph_has_its_upright_size(tmp_path: Path) -> None:
    for suffix, orientation in (("jpg", 6), ("png", 8), ("tif", 6), ("jpg", 3)):
        path = tmp_path / f"{orientation}.{suffix}"
        noise(1, 12, 20).save(path, exif=exif(orientation))
        shown = picture.read_image(path)
        assert picture.upright_size(path) == (shown.height, shown.width)


def test_the_normalisation_is_part_of_the_fingerprint(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    plain = opened(root, keep)
    assert opened(root, keep, normalise="measured").fingerprint == plain.fingerprint
    scale = {"mean": [0.5, 0.5, 0.5], "sd": [0.25, 0.25, 0.25]}
    for asked, mean in (("imagenet", 0.485), (scale, 0.5)):
        other = opened(root, keep, normalise=asked)
        assert other.fingerprint != plain.fingerprint
        assert float(other.normalisation[0][0]) == pytest.approx(255 * mean)
        assert other.facts["normalise"] == asked
        assert torch.equal(other.train.images, plain.train.images)
    said = refused(root, keep, normalise={"mean": [0.5], "sd": [0.5]})
    assert "x.toml: data.normalise: 1 channels, but the images have 3" in said


def test_photographs_are_normalised_as_asked(
    tmp_path: Path, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2}, (140, 30))
    plain, measured = opened(root, keep), opened(root, keep, normalise="measured")
    assert measured.fingerprint == plain.fingerprint  # the preprocessing is hashed beside it
    seen = torch.cat([
        images for images, _ in FolderLoader(
            plain.train, (torch.zeros(3, 1, 1), torch.ones(3, 1, 1)), 9, workers=0
        ).in_order()
    ])  # fmt: skip
    mean, sd = measured.normalisation
    assert torch.allclose(mean.flatten(), seen.mean((0, 2, 3)), atol=1e-3)
    assert torch.allclose(sd.flatten(), seen.std((0, 2, 3)), atol=1e-3)
    monkeypatch.delattr(FolderLoader, "in_order")  # the second time it is read
    assert opened(root, keep, normalise="measured").on_disk == measured.on_disk
    scale = {"mean": [0.5, 0.4, 0.3], "sd": [0.25, 0.2, 0.1]}
    assert opened(root, keep, normalise=scale).on_disk.mean == (0.5, 0.4, 0.3)


def test_a_set_that_ssbench_knows_can_be_normalised_and_nothing_else(keep: Path) -> None:
    plain = open_dataset("digits", keep)
    same = open_dataset("digits", keep, settings=DataSettings(normalise="measured"))
    assert same.fingerprint == plain.fingerprint
    scale = {"mean": [0.02], "sd": [0.02]}
    other = open_dataset("digits", keep, settings=DataSettings.model_validate({"normalise": scale}))
    assert other.fingerprint != plain.fingerprint
    with pytest.raises(BadInputError, match=r"data.size: digits has a size and splits of its own"):
        open_dataset("digits", keep, "x.toml: dataset", DataSettings(size=16))


def test_sizes_are_kept_and_damage_to_that_does_no_harm(tmp_path: Path, keep: Path) -> None:
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    noise(99, 20, 30).save(root / "train/dog/99.png")
    opened(root, keep)
    kept = list((keep / survey.FOLDER).glob("*-sizes.json"))
    assert len(kept) == 3
    assert sum(count for path in kept for *_, count in json.loads(path.read_text())) == 17
    for path in kept:
        path.write_text("[broken")
    assert opened(root, keep).on_disk == STANDARD


def test_of_large_files_names_and_times_identify_the_images(
    tmp_path: Path, keep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "HASHED_BYTES", 100)
    root = made(tmp_path / "x", {"train": 6, "val": 2})
    first = opened(root, keep).fingerprint
    assert opened(root, keep).fingerprint == first
    time.sleep(0.02)
    noise(98).save(root / "train/cat/02.png")
    assert opened(root, keep).fingerprint != first
