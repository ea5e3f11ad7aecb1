"""Arrays of one's own: from an .npz file, a function, or a saved data set."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssbench.data.dataset import Augmentation, DataSet
from ssbench.data.own import saved as saved_
from ssbench.data.own.settings import DataSettings
from ssbench.data.registry import dataset_name, open_dataset
from ssbench.data.remarks import remarks
from ssbench.errors import BadInputError

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (40, 9, 8), dtype=np.uint8)
COLOUR = RANDOM.randint(0, 256, (40, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def opened(path: Path, **settings: Any) -> DataSet:
    asked = DataSettings.model_validate(settings)
    return open_dataset(f"npz:{path}", path.parent / "sets", "x.toml: dataset", asked)


def stored(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "my images.npz"
    np.savez(path, **arrays)
    return path


def refused(path: Path, **settings: Any) -> str:
    with pytest.raises(BadInputError) as caught:
        opened(path, **settings)
    return str(caught.value)


def whole(images: Any, labels: Any = LABELS) -> dict[str, Any]:
    """Training, validation and test images."""
    cuts = {"train": slice(0, 24), "val": slice(24, 32), "test": slice(32, 40)}
    return {f"{a}_{s}": values[cut] for s, cut in cuts.items()
            for a, values in (("x", images), ("y", labels))}  # fmt: skip


FORMS: dict[str, tuple[Any, Any]] = {
    "[N, H, W]": (GREY, GREY[:, None]),
    "[N, H, W, 1]": (GREY[..., None], GREY[:, None]),
    "[N, H, W, 3]": (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
    "[N, 3, H, W]": (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
    "whole numbers": (GREY.astype(np.int64), GREY[:, None]),
    "floats to 1": (GREY / 255, GREY[:, None]),
    "floats of 32 bits to 1": ((GREY / 255).astype(np.float32), GREY[:, None]),
    "floats to 255": (GREY.astype(np.float32), GREY[:, None]),
    "yes and no": (GREY > 127, np.where(GREY > 127, 255, 0)[:, None]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_images_becomes_bytes(form: str, tmp_path: Path) -> None:
    images, expected = FORMS[form]
    dataset = opened(stored(tmp_path, **whole(images)))
    parts = (dataset.train, dataset.validation, dataset.test)
    found = torch.cat([part.images for part in parts])
    assert found.dtype == torch.uint8
    assert np.array_equal(found, expected)
    assert np.array_equal(torch.cat([part.labels for part in parts]), LABELS)
    assert dataset.standard == Augmentation(1, True)
    assert dataset.facts == {
        "memory": True, "source": "npz", "validation": "val", "test": "test"
    }  # fmt: skip


ONE_HOT = np.eye(4)[LABELS]
LABELLED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "0 to K - 1": (LABELS, ("0", "1", "2", "3")),
    "1 to K": (LABELS + 1, ("1", "2", "3", "4")),
    "[N, 1]": (LABELS[:, None], ("0", "1", "2", "3")),
    "one-hot": (ONE_HOT, ("0", "1", "2", "3")),
    "texts": (np.array(["ant", "bee", "cat", "été"])[LABELS], ("ant", "bee", "cat", "été")),
    "whole floats": (LABELS.astype(float), ("0", "1", "2", "3")),
}


@pytest.mark.parametrize("form", LABELLED)
def test_every_form_of_labels_becomes_classes(form: str, tmp_path: Path) -> None:
    labels, names = LABELLED[form]
    dataset = opened(stored(tmp_path, **whole(GREY, labels)))
    assert dataset.names == names
    assert np.array_equal(dataset.train.labels, LABELS[:24])
    assert np.array_equal(dataset.test.labels, LABELS[32:])


def test_missing_splits_are_chosen_from_the_training_images(tmp_path: Path) -> None:
    path = stored(tmp_path, x_train=GREY, y_train=LABELS)
    dataset = opened(path, validation=0.2, seed=3)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [28, 8, 4]
    assert dataset.facts["validation"] == 0.2
    assert dataset.facts["seed"] == 3
    assert "chose 20 % for val and 10 % for test of each class, at random" in dataset.remarks[0]
    assert opened(path).fingerprint != opened(path, seed=1).fingerprint
    found = np.concatenate([p.images for p in (dataset.train, dataset.validation, dataset.test)])
    assert sorted(map(bytes, found[:, 0])) == sorted(map(bytes, GREY))


def test_grey_images_have_one_channel_and_can_be_normalised(tmp_path: Path) -> None:
    path = stored(tmp_path, **whole(GREY))
    assert opened(path).channels == 1
    scale = {"mean": [0.4], "sd": [0.2]}
    assert float(opened(path, normalise=scale).normalisation[0]) == pytest.approx(102)
    assert "data.normalise: 3 channels, but the images have 1" in refused(
        path, normalise="imagenet"
    )


def test_equal_images_of_two_splits_are_told(tmp_path: Path) -> None:
    images = GREY.copy()
    images[33] = images[2]
    (said,) = remarks(opened(stored(tmp_path, **whole(images))))
    assert "1 of 8 test images are also training images, image 1 is image 2" in said


ODD = RANDOM.randint(0, 256, (40, 3, 8, 3), dtype=np.uint8)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"x_train": GREY}, "y_train is missing; add it"),
    "no training": ({"x_test": GREY, "y_test": LABELS}, "x_train is missing"),
    "misspelt": ({**whole(GREY), "x_valid": GREY}, "unknown array 'x_valid'"),
    "too few labels": ({"x_train": GREY, "y_train": LABELS[1:]}, "39 labels for 40 images"),
    "flat": ({"x_train": GREY.reshape(40, -1), "y_train": LABELS}, "has the shape [40, 72]"),
    "either axis": ({"x_train": ODD, "y_train": LABELS}, "add the text layout = 'NHWC'"),
    "no such layout": ({"x_train": ODD, "y_train": LABELS, "layout": "HWC"}, "layout is 'HWC'"),
    "several shapes": (
        whole(GREY) | {"x_test": GREY[32:, :8]}, "x_train [24, 9, 8], x_val [8, 9, 8], x_test [8, 8"
    ),
    "negative": (whole(GREY / 255 - 0.5), "have values from -0.5 to 0.5, so black and white are"),
    "16 bits": (whole(GREY.astype(np.uint16) * 257), "from 0 to 65535, so black and white"),
    "no number": (whole(np.full(GREY.shape, np.nan)), "have values from nan to nan"),
    "two types": (whole(GREY) | {"x_test": GREY[32:] / 255}, "x_val uint8, x_test float64)"),
    "half classes": (whole(GREY, LABELS + 0.5), "y_train has labels that are no whole numbers"),
    "one class": (whole(GREY, LABELS * 0), "y_train names 1 class; need two"),
    "a class of tests": (
        whole(GREY, np.where(np.arange(40) < 32, LABELS, 7)), "y_test names the class 7, of which"
    ),
    "two hot": (whole(GREY, np.ones((40, 4))), "expected one label per image"),
    "objects": (whole(GREY, np.array([object()] * 40)), "cannot be read (Object arrays cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_breaks_a_rule_is_refused_by_name(what: str, tmp_path: Path) -> None:
    arrays, says = WRONG[what]
    said = refused(stored(tmp_path, **arrays))
    assert said.startswith("x.toml: dataset: ")
    assert says in said


def test_a_layout_can_be_told(tmp_path: Path) -> None:
    path = stored(tmp_path, x_train=ODD, y_train=LABELS, layout="NCHW")
    assert opened(path).train.image_shape == (3, 8, 3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": 16}, "data.size: arrays are not resized, and these images are 9 x 8"),
        ({"memory": False}, "data.memory: arrays are always in memory; remove the key"),
        ({"test": 0.2}, "data.test: the data have a split test; remove the key"),
        ({"label": "y"}, "data.label: only a saved data set has columns"),
    ],
)
def test_settings_without_effect_are_refused(
    settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = stored(tmp_path, **whole(GREY))
    assert says in refused(path, **settings)
    assert opened(path, size=[9, 8], memory=True).fingerprint == opened(path).fingerprint


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, **whole(GREY))
    content = path.read_bytes()
    for wrong in (content[:-40], content[:300], b"", b"text"):
        path.write_bytes(wrong)
        assert f"{path} cannot be read" in refused(path)
    np.save(tmp_path / "one.npy", GREY)
    (tmp_path / "one.npy").rename(path)
    assert "holds one array; save several with np.savez" in refused(path)
    path.unlink()
    assert "No such file or directory" in refused(path)


LOAD = """
import numpy as np, torch

def {name}(count=40):
    {before}
    images = np.random.RandomState(0).randint(0, 256, (count, 9, 8), dtype=np.uint8)
    return {{"x_train": torch.from_numpy(images), "y_train": [n % 4 for n in range(count)]}}

def needs(argument):
    return argument
"""


def written(tmp_path: Path, before: str = "pass", name: str = "load") -> Path:
    path = tmp_path / "my_data.py"
    path.write_text(LOAD.format(before=before, name=name))
    return path


def called(path: Path, function: str = "load") -> DataSet:
    return open_dataset(f"{path}:{function}", path.parent, "x.toml: dataset")


def test_a_function_returns_arrays_or_tensors(tmp_path: Path) -> None:
    dataset = called(written(tmp_path))
    assert dataset.name == "my_data.py:load"
    assert dataset.facts["source"] == "function"
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [32, 4, 4]
    assert dataset.train.image_shape == (1, 9, 8)
    assert called(tmp_path / "my_data.py").fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("return 5", "load returned int; return a dictionary with x_train"),
        ("1 / 0", "my_data.py, line 5: ZeroDivisionError: division by zero"),
        ("torch.load('gone')", "my_data.py, line 5: FileNotFoundError"),
        ("break", "my_data.py, line 5: SyntaxError"),
        ("return {'x_train': [[[1]], [[1, 2]]], 'y_train': [0, 1]}", "x_train: no array"),
        ("return {'x_train': 'abc', 'y_train': [0, 1]}", "x_train has the shape []"),
    ],
)
def test_a_function_that_fails_is_named_with_its_line(
    before: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError) as caught:
        called(written(tmp_path, before))
    assert says in str(caught.value)


def test_a_function_that_is_not_there_has_near_ones(tmp_path: Path) -> None:
    path = written(tmp_path)
    for name in ("lod", "needs"):
        with pytest.raises(BadInputError, match=f"no function '{name}'.*load"):
            called(path, name)
    with pytest.raises(BadInputError, match=r"gone.py does not exist"):
        called(tmp_path / "gone.py")


def test_names_in_records_say_nothing_of_folders() -> None:
    names = {"npz:/x/a b.npz": "npz:a b.npz", "hf:x/y/": "hf:y", "/x/d.py:load": "d.py:load"}
    assert {name: dataset_name(name) for name in names} == names


def encoded(seed: int, size: tuple[int, int] = (8, 9), whole: bool = True) -> bytes:
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue() if whole else file.getvalue()[:80]


def kept(
    tmp_path: Path, splits: Mapping[str, int], more: Mapping[str, Any] | None = None,
    size: tuple[int, int] = (8, 9), broken: int = -1,
) -> Path:  # fmt: skip
    """Save a data set of Hugging Face's library; one split without a name is no dictionary."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    seed, found = 0, {}
    for split, count in splits.items():
        columns = {
            "picture": [
                {"bytes": encoded(seed + n, size, n != broken), "path": None} for n in range(count)
            ],
            "kind": [n % 2 for n in range(count)],
            **{name: [value] * count for name, value in (more or {}).items()},
        }
        seed += count
        features = {
            "picture": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee"]),
            **{name: datasets.ClassLabel(names=["x", "y"]) for name in more or {}},
        }  # fmt: skip
        found[split] = datasets.Dataset.from_dict(columns, datasets.Features(features))
    path = tmp_path / "kept"
    (found[""] if "" in found else datasets.DatasetDict(found)).save_to_disk(str(path))
    return path


def saved(path: Path, **settings: Any) -> DataSet:
    asked = DataSettings.model_validate(settings)
    return open_dataset(f"hf:{path}", path.parent / "sets", "x.toml: dataset", asked)


def test_a_saved_data_set_is_read_like_a_folder(tmp_path: Path) -> None:
    dataset = saved(kept(tmp_path, {"train": 20, "validation": 4, "test": 6, "extra": 2}))
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [20, 4, 6]
    assert dataset.train.image_shape == (3, 9, 8)
    assert dataset.names == ("ant", "bee")
    with Image.open(io.BytesIO(encoded(25))) as image:
        assert np.array_equal(dataset.test.images[1].permute(1, 2, 0), np.asarray(image))
    assert dataset.test.labels.tolist() == [0, 1] * 3
    assert "does not use the splits 'extra'" in dataset.remarks[0]
    assert dataset.facts["source"] == "hf"


def test_a_saved_data_set_without_splits_is_divided(tmp_path: Path) -> None:
    path = kept(tmp_path, {"": 40})
    dataset = saved(path, test=0.2)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [28, 4, 8]
    assert saved(path, size=6).train.image_shape == (3, 6, 6)
    assert saved(path, test=0.2).fingerprint == dataset.fingerprint


def test_columns_that_cannot_be_told_are_named(tmp_path: Path) -> None:
    path = kept(tmp_path, {"train": 20}, {"coarse": 1})
    with pytest.raises(BadInputError, match=r"2 columns could be the label; name one with data"):
        saved(path)
    assert saved(path, label="kind").classes == 2
    with pytest.raises(BadInputError, match=r"data.label: no column 'kid'; did you mean 'kind'"):
        saved(path, label="kid")


def test_what_is_wrong_with_a_saved_data_set_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInputError, match="is no data set that save_to_disk"):
        saved(tmp_path)
    path = kept(tmp_path, {"train": 20, "test": 4}, size=(150, 20))
    with pytest.raises(BadInputError, match="saved data sets are always in memory"):
        saved(path, memory=False)
    assert saved(path).train.image_shape == (3, 224, 224)
    monkeypatch.setattr(saved_, "FITS", 1000)
    with pytest.raises(BadInputError, match=r"write data.memory = true, or a smaller data.size"):
        saved(path)
    assert saved(path, memory=True).train.image_shape == (3, 224, 224)
    for file in path.glob("train/*.arrow"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BadInputError, match=r"kept cannot be read .*; save it again"):
        saved(path)


def test_without_the_library_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path, {"train": 20})
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInputError, match=r"needs Hugging Face's library datasets; uv sync --ex"):
        saved(path)


def test_a_bad_image_of_a_saved_data_set_is_named(tmp_path: Path) -> None:
    path = kept(tmp_path, {"train": 20}, broken=5)
    with pytest.raises(BadInputError, match=r"kept/train/row 5: no image that can be read"):
        saved(path)
