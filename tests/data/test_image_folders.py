"""Folders of images by class: every file is used, refused by name, or said to be left out."""

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from ssbench.data import image_folder, survey
from ssbench.data.dataset import DataSet
from ssbench.data.download import data_root
from ssbench.data.folder_loader import FolderLoader
from ssbench.data.image_folder import Files
from ssbench.data.registry import open_dataset
from ssbench.data.remarks import remarks
from ssbench.errors import BadInputError
from tests.support.command_line import Invoke
from tests.support.pictures import bomb, exif, opened


def picture(seed: int, size: tuple[int, int] = (150, 9)) -> Image.Image:
    """A picture of noise, too long to be a small one."""
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 5 training images and 2 for testing, all different."""
    seed = 0
    for part, count in (("train", 5), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for number in range(count):
                picture(seed).save(tmp_path / "set" / part / name / f"{number}.png")
                seed += 1
    return tmp_path / "set"


def splits(root: Path) -> tuple[DataSet, list[Files]]:
    dataset, _ = opened(root)
    parts = [dataset.train, dataset.validation, dataset.test]
    return dataset, [part for part in parts if isinstance(part, Files)]


def paths(root: Path) -> set[str]:
    return {path for part in splits(root)[1] for path in part.paths}


def refused(root: Path) -> str:
    """What opening the folder and looking at its images is refused with."""
    with pytest.raises(BadInputError) as caught:
        remarks(splits(root)[0])
    return str(caught.value)


def written(root: Path) -> Path:
    """An experiment on the folder."""
    path = root.parent / "tiny.toml"
    path.write_text(
        f'dataset = {json.dumps(f"imagefolder:{root}")}\nmodels = ["resnet18-imagenet"]\n'
        "seeds = [0]\nbudget = { kept = [0.5] }\ntrain = { epochs = 1, lr = 0.01 }\n"
        'methods = [{ name = "dense" }]\n'
    )
    return path


def by_hand(files: Files) -> str:
    """The fingerprint of a split as it always was: size, then each path, class, length, content."""
    digest = hashlib.sha256(b"224")
    for path, label in zip(files.paths, files.labels.tolist(), strict=True):
        content = (files.root / path).read_bytes()
        digest.update(f"{path}:{label}:{len(content)}\n".encode() + content)
    return digest.hexdigest()


def test_a_folder_in_which_nothing_was_wrong_has_the_fingerprint_it_had(root: Path) -> None:
    for part in splits(root)[1]:
        assert part.fingerprint == by_hand(part)
    assert remarks(splits(root)[0]) == []


def test_images_that_are_shown_otherwise_than_before_change_the_fingerprint(root: Path) -> None:
    picture(1).save(root / "train/cat/0.png", exif=exif(6))
    parts = splits(root)[1]
    changed = [part for part in parts if part.fingerprint != by_hand(part)]
    assert [part.paths.count("train/cat/0.png") for part in changed] == [1]


def test_imagenet_is_decoded_as_for_the_published_accuracies(root: Path) -> None:
    for path in root.glob("*/*/*.png"):
        picture(int(path.stem), (300, 240)).save(path, exif=exif(6))
    shutil.copytree(root, root.parent / "imagenet")
    plain = open_dataset("imagenet", root.parent).train
    turned = splits(root)[1][0]
    assert isinstance(plain, Files)
    assert plain.fingerprint == by_hand(plain)
    mean, sd = opened(root)[0].normalisation
    for files in (plain, turned):
        shown, _ = next(FolderLoader(files, (mean * 0, sd * 0 + 1), 1).in_order())
        with Image.open(files.root / files.paths[0]) as image:
            turns = [] if files.plain else [Image.Transpose.ROTATE_270]
            expected = image.convert("RGB")
            for turn in turns:
                expected = expected.transpose(turn)
        short = expected.resize(tuple(round(side * 256 / 240) for side in expected.size))
        middle = np.asarray(short, float)[short.height // 2, short.width // 2]
        assert np.abs(shown[0, :, 112, 112].numpy() - middle).max() < 60
    assert plain.plain
    assert not turned.plain


def test_every_kind_of_image_counts_however_its_suffix_is_written(root: Path) -> None:
    kinds = ["a.JPG", "b.JPEG", "c.jfif", "d.tif", "e.TIFF", "f.gif", "g.WebP", "h.bmp", "i.pgm"]
    for number, name in enumerate(kinds):
        suffix = name.rpartition(".")[2].lower()
        kind = {"jfif": "jpeg", "jpg": "jpeg", "tif": "tiff", "pgm": "ppm"}.get(suffix, suffix)
        image = picture(50 + number)
        (image.convert("L") if suffix == "pgm" else image).save(root / "train/cat" / name, kind)
    assert {f"train/cat/{name}" for name in kinds} <= paths(root)
    assert remarks(splits(root)[0]) == []


def test_images_in_folders_below_a_class_are_of_the_class(root: Path) -> None:
    deep = root / "train/cat/2024/may"
    deep.mkdir(parents=True)
    picture(60).save(deep / "x.png")
    picture(61).save(deep.parent / "y.png")
    dataset, _ = splits(root)
    assert {"train/cat/2024/may/x.png", "train/cat/2024/y.png"} <= paths(root)
    assert dataset.classes == 2


def test_other_files_are_said_to_be_left_out_once_and_litter_is_not(
    root: Path, invoke: Invoke
) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.png"):
        (root / "train/cat" / name).write_bytes(b"litter")
    for folder_ in ("__MACOSX", ".ipynb_checkpoints", ".git"):
        (root / "train" / folder_).mkdir()
        (root / "train" / folder_ / "0.png").write_bytes(b"litter")
    assert remarks(splits(root)[0]) == []
    (root / "train/cat/notes.txt").write_text("x")
    (root / "train/labels.csv").write_text("x")
    (root / "val/dog/below").mkdir()
    (root / "val/dog/below/README").write_text("x")
    (said,) = remarks(splits(root)[0])
    assert "ignored 3 files without an image's name" in said
    assert all(f"{kind} 1" in said for kind in (".csv", ".txt", "no suffix"))
    assert "for example train/cat/notes.txt" in said
    (root / "test").mkdir()
    ended = invoke("data", f"imagefolder:{root}")
    assert ended.code == 0
    assert ended.out.count("ignored 3 files") == 1
    assert "uses only train and val" in ended.out
    assert "not test" in ended.out


def test_classes_of_one_image_are_trained_on(root: Path) -> None:
    (root / "train/ant").mkdir()
    (root / "val/ant").mkdir()
    picture(70).save(root / "train/ant/0.png")
    picture(71).save(root / "val/ant/0.png")
    dataset, (train, validation, _) = splits(root)
    assert "train/ant/0.png" in train.paths
    assert 0 not in validation.labels
    (said,) = remarks(dataset)
    assert "only one training image of 'ant'" in said
    for name in ("cat", "dog"):  # as it is without that class
        alone = np.random.RandomState(0)
        held = [alone.permutation(5)[0] for _ in range(2)][("cat", "dog").index(name)]
        assert f"train/{name}/{held}.png" in validation.paths


def test_without_any_image_for_validation_the_folder_is_refused(root: Path) -> None:
    for path in root.glob("train/*/[1-9].png"):
        path.unlink()
    assert "held out for validation; add some" in refused(root)


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "stray": (lambda r: picture(1).save(r / "train/x.png"), "train/x.png belongs to no class"),
    "empty class": (lambda r: (r / "train/ant").mkdir(), "train/ant holds no image"),
    "no image": (lambda r: (r / "val/ant/below").mkdir(parents=True), "val/ant holds no image"),
    "dangling image": (
        lambda r: (r / "val/cat/x.png").symlink_to("gone.png"),
        "val/cat/x.png is a link to gone.png, which does not exist; put",
    ),
    "dangling class": (
        lambda r: (r / "train/ant").symlink_to("gone"),
        "train/ant is a link to gone, which does not exist",
    ),
    "link to itself": (
        lambda r: (r / "train/cat/x.png").symlink_to("x.png"),
        "train/cat/x.png is a link to x.png, which does not exist",
    ),
    "circle": (
        lambda r: (r / "train/cat/again").symlink_to(r / "train/cat"),
        "train/cat/again is a link to a folder above it; remove it",
    ),
    "wide circle": (
        lambda r: (r / "train/cat/again").symlink_to(r / "train"),
        "again is a link to a folder above it; remove it",
    ),
    "pipe": (lambda r: os.mkfifo(r / "val/dog/x.png"), "val/dog/x.png: no regular file; remove"),
    "empty": (lambda r: (r / "val/dog/x.png").touch(), "val/dog/x.png: an empty file; remove"),
    "text": (lambda r: (r / "val/dog/x.png").write_text("x"), "val/dog/x.png: no image in a known"),
    "bomb": (
        lambda r: (r / "val/dog/x.png").write_bytes(bomb(20000, 20000)),
        "val/dog/x.png: too large (Image size (400000000 pixels)",
    ),
    "truncated": (
        lambda r: (r / "val/dog/1.png").write_bytes((r / "val/dog/1.png").read_bytes()[:120]),
        "val/dog/1.png: no image that can be read",
    ),
    "case": (
        lambda r: (r / "val/cat").rename(r / "val/Cat"),
        "different classes: 'Cat', 'cat' is in one of them only; some differ only in case",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_cannot_be_used_is_refused_by_name(harm: str, root: Path) -> None:
    make, says = HARMS[harm]
    make(root)
    assert says in refused(root)


def test_classes_whose_accents_are_written_in_two_ways_are_not_the_same(root: Path) -> None:
    for part, form in (("train", "NFC"), ("val", "NFD")):
        (root / part / "cat").rename(root / part / unicodedata.normalize(form, "été"))
    assert "how Unicode writes their accents: rename them" in refused(root)


def test_classes_that_differ_in_case_only_are_two_and_said_to_be(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "Cat").mkdir()
        for number in range(2):
            picture(80 + 2 * number + (part == "val")).save(root / part / "Cat" / f"{number}.png")
    dataset, _ = splits(root)
    assert dataset.classes == 3
    (said,) = remarks(dataset)
    assert "'Cat' and 'cat' are different classes" in said


def test_all_bad_images_are_named_at_once(root: Path) -> None:
    for number in range(5):
        (root / f"train/cat/{number}.png").write_text("x")
    said = refused(root)
    train = [path for path in splits(root)[1][0].paths if "cat" in path]
    assert f"{len(train)} images cannot be used" in said
    assert all(path in said for path in train)


def test_names_in_any_writing_and_of_any_bytes_are_read(root: Path) -> None:
    strange = [" a b ", "été 画像", "two\nlines", "bytes\udcff", "'quoted' \"twice\""]
    for number, name in enumerate(strange):
        picture(90 + number).save(root / "train/cat" / f"{name}.png")
    (root / "train/dog").rename(root / "train/dög\n2")
    (root / "val/dog").rename(root / "val/dög\n2")
    dataset, parts = splits(root)
    assert {f"train/cat/{name}.png" for name in strange} <= paths(root)
    assert dataset.fingerprint == splits(root)[0].fingerprint
    for part in parts:
        loader = FolderLoader(part, dataset.normalisation, 4, workers=0)
        assert sum(len(labels) for _, labels in loader.in_order()) == len(part)


def test_links_are_followed(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    for number in range(3):
        picture(100 + number).save(outside / f"{number}.png")
    (root / "train/cat/linked").symlink_to(outside)
    picture(110).save(root.parent / "one.png")
    (root / "val/cat/one.png").symlink_to(root.parent / "one.png")
    found = paths(root)
    assert {"train/cat/linked/0.png", "val/cat/one.png"} <= found


def test_images_for_training_and_testing_that_are_the_same_are_said(
    root: Path, invoke: Invoke
) -> None:
    train = splits(root)[1][0]
    shutil.copy(root / train.paths[0], root / "val/dog/9.png")
    (said,) = remarks(splits(root)[0])
    assert "1 of 5 test images are also training images" in said
    assert f"val/dog/9.png is {train.paths[0]}" in said
    experiment = written(root)
    ended = invoke("run", experiment, "--dry-run", "--quiet")
    assert ended.code == 0, ended.err
    assert ended.err.count("also training images") == 1


def test_a_bad_image_of_the_test_split_is_refused_before_training(
    root: Path, invoke: Invoke
) -> None:
    path = root / "val/dog/1.png"
    path.write_bytes(path.read_bytes()[:120])
    experiment = written(root)
    ended = invoke("run", experiment)
    assert ended.code == 2
    assert str(path) in ended.err
    assert "replace or remove it" in ended.err
    assert not Path("results").exists()


def test_of_several_frames_it_is_said_that_the_first_one_counts(root: Path) -> None:
    more = [picture(120), picture(121)]
    picture(122).save(root / "train/cat/x.gif", save_all=True, append_images=more)
    (said,) = remarks(splits(root)[0])
    assert "only the first frame or page counts of 1 images with several" in said
    assert "train/cat/x.gif" in said


def test_what_was_found_is_kept_and_damage_to_that_does_no_harm(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(1).save(root / "train/cat/0.png", exif=exif(6))
    first = splits(root)[0].fingerprint
    kept = list((data_root(None) / survey.FOLDER).iterdir())
    looked: list[Path] = []
    real = survey.look

    def counted(folder_: Path, images: Sequence[str], *, decode: bool) -> survey.Found:
        looked.append(folder_)
        return real(folder_, images, decode=decode)

    monkeypatch.setattr(survey, "look", counted)
    assert splits(root)[0].fingerprint == first
    assert looked == []
    for path in kept:
        path.write_text("[broken")
    assert splits(root)[0].fingerprint == first
    assert len(looked) == 3
    picture(2).save(root / "train/dog/0.png")
    assert splits(root)[0].fingerprint != first
    assert len(looked) == 4


def test_of_large_folders_headers_are_read_and_the_rest_is_named_in_a_pass(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "HASHED_BYTES", 100)
    picture(1).save(root / "train/cat/0.png", exif=exif(6))
    dataset, parts = splits(root)
    assert dataset.fingerprint
    assert sum(len(part.found) for part in parts) == 1
    path = root / parts[0].paths[-1]
    path.write_bytes(path.read_bytes()[:120])
    dataset, (train, *_) = splits(root)
    assert dataset.fingerprint
    with pytest.raises(BadInputError, match="no image that can be read"):
        list(FolderLoader(train, dataset.normalisation, 3, workers=2).in_order())
    with pytest.raises(BadInputError, match="no image that can be read"):
        train.verify()
    (root / "val/dog/1.png").write_bytes(bomb(20000, 20000))
    assert "val/dog/1.png: too large" in refused(root)


@pytest.mark.parametrize("name", ["train/cat", "val/dog/1.png"])
def test_what_may_not_be_read_is_named(name: str, root: Path) -> None:
    nobody = 65534
    with TemporaryDirectory() as folder_:  # pytest's own folders are closed to everybody else
        Path(folder_).chmod(0o755)
        other = Path(folder_) / "set"
        shutil.copytree(root, other)
        assert opened(other)[0].fingerprint  # what this takes is imported
        (other / name).chmod(0)
        root_only = os.geteuid() == 0
        try:
            if root_only:  # who may read everything
                os.seteuid(nobody)
            said = refused(other)
        finally:
            if root_only:
                os.seteuid(0)
        assert f"{other / name}" in said
        assert "cannot be read (Permission denied); make it readable" in said
        (other / name).chmod(0o755)
