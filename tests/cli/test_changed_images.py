"""Changed images under the same path are found before training."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.support.command_line import Invoke
from tests.support.pictures import make_pictures

EXPERIMENT = """
name = "photos"
dataset = "imagefolder:{root}"
models = ["resnet18-imagenet"]
seeds = [0]
budget = {{ kept = [0.5] }}
train = {{ epochs = 1, batch_size = 8, lr = 0.01 }}
finetune = {{ epochs = 1, batch_size = 8, lr = 0.01 }}
methods = [{{ name = "dense" }}]
"""
OTHER = ("--set", 'methods=[{name="magnitude"}]')


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def without(path: Path, key: str) -> None:
    """Take a key out of a JSON file, or of JSON lines without a checksum, as older ones lack it."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if k not in (key, "sha256")} for line in lines]
    path.write_text("".join(json.dumps(line | {"format": 1}) + "\n" for line in kept))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_another_method_on_other_images_is_refused_before_training(
    tmp_path: Path, invoke: Invoke
) -> None:
    root = make_pictures(tmp_path / "x", classes=2, count=6)
    path, results = tmp_path / "photos.toml", tmp_path / "results"
    path.write_text(EXPERIMENT.format(root=root))
    call = ("run", path, "--results", results, "--quiet")
    assert invoke(*call).code == 0
    folder = results / "photos"
    record = json.loads(next(folder.glob("*.jsonl")).read_text().splitlines()[-1])
    manifest = json.loads((folder / "experiment.json").read_text())
    assert record["data_fingerprint"] == manifest["data"]
    assert record["preprocessing"] == {"resize": [256], "crop": 224, "interpolation": "bilinear"}

    image = root / "val" / "class1" / "0.jpg"
    before, kept = image.read_bytes(), contents(folder)
    Image.new("RGB", (240, 240), "green").save(image)

    def refused() -> None:
        ended = invoke(*call, *OTHER)
        assert ended.code == 2
        assert "holds results measured on other images of imagefolder:x" in ended.err
        assert "put the images and the table [data] back, or give this experiment" in ended.err

    refused()
    assert contents(folder) == kept
    # Of an older version's folder, where only newer records name their images.
    manifest_file = folder / "experiment.json"
    manifest_file.write_text(json.dumps({k: v for k, v in manifest.items() if k != "data"}))
    refused()
    for written in folder.glob("*.jsonl"):
        without(written, "data_fingerprint")
    assert invoke(*call, *OTHER, "--dry-run").code == 0
    image.write_bytes(before)
    manifest_file.write_bytes(kept["experiment.json"])
    assert invoke(*call, *OTHER).code == 0
    assert "do not name their images" in (folder / "report.md").read_text()
