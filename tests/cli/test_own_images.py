"""Experiments and the command ``data`` on images of one's own, from the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.executors.session import Options, experiment_of, open_job
from ssbench.experiment.plan import plan_variants
from ssbench.experiment.variants import variants
from ssbench.method.registry import discover
from ssbench.paths import method_folder
from tests.data.test_own_folders import made, noise
from tests.support.command_line import Ended, Invoke

EXPERIMENT = """
name = "own"
dataset = {dataset}
models = ["vgg6"]
seeds = [0]
budget = {{ kept = 0.5 }}
train = {{ epochs = 1, lr = 0.05, batch_size = 16 }}
finetune = {{ epochs = 1, lr = 0.02, batch_size = 16 }}
methods = [{{ name = "magnitude", grain = "connection", budget = {{ protection = 0.0 }} }}]
{more}
"""


def written(tmp_path: Path, dataset: str, more: str = "") -> Path:
    path = tmp_path / "own.toml"
    path.write_text(EXPERIMENT.format(dataset=json.dumps(dataset), more=more))
    return path


def last(invoke: Invoke, path: Path, *more: object) -> dict[str, Any]:
    ended = invoke("run", path, "--quiet", *more)
    assert ended.code == 0, ended.err
    (records,) = Path("results/own").glob("*.jsonl")
    found: dict[str, Any] = json.loads(records.read_text().splitlines()[-1])
    return found


def test_records_say_how_images_were_prepared(tmp_path: Path, invoke: Invoke) -> None:
    root = made(tmp_path / "x", {"": 24})
    path = written(tmp_path, f"imagefolder:{root}", "[data]\nsize = 8\nvalidation = 0.25")
    record = last(invoke, path)
    assert record["image_shape"] == [3, 8, 8]
    assert record["preprocessing"] is None
    assert record["data"] == {
        "source": "folder", "memory": True, "resize": [8], "crop": 8, "interpolation": "bilinear",
        "train": "", "validation": 0.25, "test": 0.1, "seed": 0,
    }  # fmt: skip
    assert [record[f"{split}_images"] for split in ("train", "validation", "test")] == [32, 12, 4]
    for other in ("data.size=9", "data.seed=1", 'data.normalise="imagenet"', "data.test=0.2"):
        ended = invoke("run", path, "--quiet", "--set", other)
        assert ended.code == 2
        assert "holds results measured on other images of imagefolder:x" in ended.err
    same = ("--set", "data.memory=true", "--set", 'data.normalise="measured"')
    assert last(invoke, path, *same)["stage_id"] == record["stage_id"]


def test_another_preprocessing_of_photographs_is_refused_and_has_another_id(
    tmp_path: Path, invoke: Invoke
) -> None:
    root = made(tmp_path / "x", {"train": 8, "val": 2}, (140, 30))
    path = written(tmp_path, f"imagefolder:{root}", "[data]\nsize = 16\nmemory = false")
    record = last(invoke, path)
    assert record["preprocessing"] == {"resize": [16], "crop": 16, "interpolation": "bilinear"}
    assert record["data"]["memory"] is False
    scale = "data.normalise={ mean = [0.5, 0.5, 0.5], sd = [0.5, 0.5, 0.5] }"
    ended = invoke("run", path, "--quiet", "--set", scale)
    assert ended.code == 2
    assert "holds the results of another experiment (preprocessing.mean: " in ended.err
    shutil.rmtree("results")
    other = last(invoke, path, "--set", scale)
    assert other["stage_id"] != record["stage_id"]
    assert other["data_fingerprint"] == record["data_fingerprint"]
    assert other["mean"] == [127.5] * 3


def test_published_weights_decide_how_small_images_are_prepared(tmp_path: Path) -> None:
    root = made(tmp_path / "x", {"train": 8, "val": 2}, (16, 16))
    path = written(tmp_path, f"imagefolder:{root}", 'start = "published"')
    more = 'models=["torchvision:inception_v3"]'

    def first(*overrides: str) -> tuple[Preprocessing, dict[str, Any]]:
        options = Options(overrides=(more, *overrides), device="cpu", data_root=tmp_path / "sets")
        experiment = experiment_of(path, options)
        dataset = open_job(experiment, options, str(path)).workbench.dataset
        planned = plan_variants(experiment, variants(experiment, discover(), str(path)),
                                dataset.fingerprint, str(path), (), dataset.on_disk)  # fmt: skip
        return planned[0].stages[0].preprocessing, experiment.manifest_on(dataset)

    how, manifest = first()
    assert (how.resize, how.crop, how.mean) == ((342,), 299, (0.5, 0.5, 0.5))
    assert "preprocessing" not in manifest
    how, manifest = first("data.size=75", "data.memory=false")
    assert (how.resize, how.crop, how.mean) == ((75,), 75, (0.5, 0.5, 0.5))
    assert manifest["preprocessing"]["crop"] == 75
    how, _ = first("data.memory=false", 'data.normalise="imagenet"')
    assert (how.crop, how.mean) == (299, (0.485, 0.456, 0.406))
    how, _ = first('data.size="native"')
    assert how == STANDARD  # in memory, as 16 x 16 pixels


@pytest.mark.slow
def test_methods_from_elsewhere_get_the_same_images(tmp_path: Path, invoke: Invoke) -> None:
    """They run in a process of their own, which opens the data again."""
    file = tmp_path / "my_magnitude.py"
    shutil.copy(method_folder() / "magnitude.py", file)
    function = tmp_path / "my_data.py"
    function.write_text(
        "import numpy as np\ndef own():\n    draw = np.random.RandomState(0).randint\n"
        "    return {'x_train': draw(0, 256, (60, 8, 8, 3)), 'y_train': [0, 1, 2] * 20}\n"
    )
    path = written(tmp_path, "own", "[data]\nnormalise = 'imagenet'")
    path.write_text(path.read_text().replace('"magnitude"', '"my-magnitude"'))
    record = last(invoke, path, "--method-file", file, "--data-file", function)
    assert record["dataset"] == "my_data.py:own"
    assert record["mean"] == pytest.approx([123.675, 116.28, 103.53])
    assert record["data"]["normalise"] == "imagenet"
    assert "--data-file" in record["command"]
    assert "test_top1_error" in record


def test_paths_are_relative_to_the_experiments_file(tmp_path: Path, invoke: Invoke) -> None:
    """Or else to the working folder, which is another one here."""
    made(tmp_path / "my set", {"": 24})
    path = written(tmp_path, "imagefolder:my set")
    assert invoke("run", path, "--dry-run").code == 0
    (tmp_path / "my set").rename("my set")
    assert invoke("run", path, "--dry-run").code == 0
    Path("my set").rename("gone")
    ended = invoke("run", path, "--dry-run")
    assert ended.code == 2
    assert "own.toml: dataset: my set does not exist; expected my set/CLASS/*.jpg" in ended.err


def test_a_data_file_needs_the_name_of_a_function(tmp_path: Path, invoke: Invoke) -> None:
    file = tmp_path / "my_data.py"
    file.write_text("def load():\n    return 1\n")
    ended = invoke("run", written(tmp_path, "digits"), "--data-file", file)
    assert ended.code == 2
    assert "the experiment's dataset is 'digits'; name a function of the file there" in ended.err
    ended = invoke("run", written(tmp_path, "loads"), "--data-file", file)
    assert ended.code == 2
    assert "defines no function 'loads'; did you mean 'load'?" in ended.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            "[data]\nsize = 'nativ'",
            "data.size: must be 'native', a number of pixels from 1 to 4096",
        ),
        ("[data]\nsize = [8]", "data.size: must be 'native'"),
        ("[data]\nsize = 0", "data.size: must be 'native'"),
        ("[data]\nsizes = 8", "data.sizes: unknown key; did you mean 'size'?"),
        ("[data]\nmemory = 'yes'", "data.memory: must be 'auto', true or false (found 'yes')"),
        ("[data]\nnormalise = 'none'", "data.normalise: must be 'measured', 'imagenet', or {"),
        ("[data]\nnormalise = { mean = [1.0] }", "data.normalise.sd: this key is missing"),
        ("[data]\nnormalise = { mean = [1.0], sd = [0.0] }", "must lie between 0.0001 and 10"),
        ("[data]\nnormalise = { mean = [1.0], sd = [1.0, 1.0] }", "mean has 1 numbers and sd 2"),
        ("[data]\nvalidation = 0", "data.validation: must lie between 0.001 and 0.9"),
        ("[data]\ntest = 1.5", "data.test: must lie between 0.001 and 0.9"),
        ("[data]\nseed = -1", "data.seed: must lie between 0 and 4.29497e+09"),
    ],
)
def test_wrong_settings_are_refused_by_key(
    more: str, says: str, tmp_path: Path, invoke: Invoke
) -> None:
    ended = invoke("run", written(tmp_path, "digits", more))
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def described(invoke: Invoke, *arguments: object) -> tuple[dict[str, Any], Ended]:
    ended = invoke("data", *arguments, "--json")
    found: dict[str, Any] = json.loads(ended.out)
    return found, ended


def test_a_folder_is_described(tmp_path: Path, invoke: Invoke) -> None:
    root = made(tmp_path / "my set", {"train": 20, "test": 4})
    for number in range(16):
        (root / f"train/dog/{number:02}.png").unlink()
    shutil.copy(root / "train/cat/00.png", root / "test/cat/99.png")
    found, ended = described(invoke, root)
    assert ended.code == 0
    assert found["name"] == f"imagefolder:{root}"
    assert found["usable"]
    assert {s: each["images"] for s, each in found["splits"].items()} == {
        "train": 21, "validation": 3, "test": 9
    }  # fmt: skip
    assert found["of_each_class"][0] == {"name": "cat", "train": 18, "validation": 2, "test": 5}
    assert found["sizes"] == [{"height": 12, "width": 10, "images": 33}]
    assert found["prepared"]["validation"] == 0.1
    sample = found["samples"][0]
    assert sample["label"] == "cat"
    assert len(sample["sha256"]) == 64
    said = " ".join(found["warnings"])
    assert "test images are also" in said
    assert "classes are uneven: 18 of 'cat' and 3 of 'dog' for training" in said
    text = invoke("data", root).out
    for part in ("12 x 10: 33 images", "'cat': 18 / 2 / 5", "classes are uneven", "decoded once"):
        assert part in text
    assert described(invoke, root, "--set", "size=6")[0]["image"] == [3, 6, 6]
    ended = invoke("data", root, "--set", "sizes=6")
    assert ended.code == 2
    assert "--set: sizes: " in ended.err


def test_all_unreadable_images_are_counted_and_named(tmp_path: Path, invoke: Invoke) -> None:
    root = made(tmp_path / "x", {"": 20})
    for number in range(5):
        (root / f"cat/{number:02}.png").write_text("x")
    found, ended = described(invoke, root)
    assert ended.code == 2
    assert not found["usable"]
    assert {each["image"] for each in found["unreadable"]} == {f"cat/0{n}.png" for n in range(5)}
    assert "5 of 40 images cannot be read; replace or remove them" in found["warnings"][0]
    text = invoke("data", root).out
    assert text.count("no image in a known format") == 5


def test_arrays_are_described(tmp_path: Path, invoke: Invoke) -> None:
    path = tmp_path / "x.npz"
    images = np.stack([np.asarray(noise(seed)) for seed in range(40)])
    np.savez(path, x_train=images, y_train=np.array(["ant", "bee"] * 20))
    found, ended = described(invoke, path)
    assert ended.code == 0
    assert found["name"] == f"npz:{path}"
    assert found["image"] == [3, 12, 10]
    assert [each["name"] for each in found["of_each_class"]] == ["ant", "bee"]
    assert found["samples"][0]["image"] == "image 0"
    assert "'bee': 16 / 2 / 2" in invoke("data", path).out
