"""Published weights see the images that their authors evaluate them on: tested on outputs.

The networks have random weights, which torchvision and timm draw: the real ones cannot be fetched
here. The photographs are real.
"""

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from ssbench.data.preprocessing import STANDARD, Preprocessing
from ssbench.data.registry import open_dataset
from ssbench.experiment.presets import preprocessing
from ssbench.models.pretrained import load, published
from ssbench.models.registry import build
from ssbench.pipeline.workbench import Workbench

PHOTOGRAPHS = ("china", "flower")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scikit-learn's two photographs, and the same turned by a quarter, as two classes."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    root = tmp_path_factory.mktemp("photographs")
    for name in PHOTOGRAPHS:
        with Image.open(Path(found.origin).parent / "datasets" / "images" / f"{name}.jpg") as image:
            turned = [image.rotate(90 * i, expand=True) for i in range(4)]
        for part, images in (("train", turned), ("val", turned[:2])):
            (root / part / name).mkdir(parents=True)
            for number, each in enumerate(images):
                each.save(root / part / name / f"{number}.png")
    return root


def kept(model: nn.Module, folder: Path) -> str:
    """Put the weights where they would be fetched to; return their address."""
    file = folder / "weights.pth"
    torch.save(model.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"https://example.org/{file.rename(folder / f'weights-{digest[:8]}.pth').name}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def seen(workbench: Workbench) -> torch.Tensor:
    images, _ = next(workbench.loader(workbench.test, 4).in_order())
    return images


def expected(workbench: Workbench, transform: Any) -> torch.Tensor:
    """What the authors' own transform makes of the test images."""
    root, paths = workbench.dataset.test.root, workbench.dataset.test.paths
    found = []
    for path in paths:
        with Image.open(root / path) as image:
            found.append(transform(image.convert("RGB")))
    return torch.stack(found)


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v2", "googlenet", "inception_v3", "efficientnet_b0", "efficientnet_b3",
     "mnasnet1_3", "regnet_x_400mf"],
)  # fmt: skip
def test_inputs_and_outputs_are_those_of_torchvisions_protocol(
    name: str, photographs: Path, hub: Path
) -> None:
    scaled = name in ("googlenet", "inception_v3")
    more = {"transform_input": True, "init_weights": False} if scaled else {}
    torch.manual_seed(1)
    theirs = torchvision.models.get_model(name, weights=None, num_classes=2, **more).eval()
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    ours = f"torchvision:{name}"
    workbench = Workbench(open_dataset(f"imagefolder:{photographs}", Path()), torch.device("cpu"))
    workbench = workbench.fitted(preprocessing(published(ours, "here"), "here"))
    images, given = seen(workbench), expected(workbench, weights.transforms())
    if not scaled:  # else the network itself scales them anew
        same(images, given)
    with torch.no_grad():
        model = workbench.starting(ours, 0, kept(theirs, hub)).eval()
        same(model(images), theirs(given))
    assert model(images[:1]).shape == (1, 2)


@pytest.mark.parametrize(
    "name", ["resnet18.a1_in1k", "mobilenetv3_small_100.lamb_in1k", "ecaresnet26t.ra2_in1k"]
)
def test_inputs_and_outputs_are_those_of_timms_protocol(
    name: str, photographs: Path, hub: Path
) -> None:
    torch.manual_seed(1)
    theirs = timm.create_model(name).eval()
    config = resolve_data_config(model=theirs)
    workbench = Workbench(open_dataset(f"imagefolder:{photographs}", Path()), torch.device("cpu"))
    workbench = workbench.fitted(preprocessing(published(f"timm:{name}", "here"), "here"))
    given = expected(workbench, create_transform(**config, is_training=False))
    images = seen(workbench)
    same(images, given)
    kept(theirs, hub)
    model = build(f"timm:{name}", 3, 1000).eval()
    load(model, f"timm:{name}", "", next(hub.iterdir()))
    with torch.no_grad():
        same(model(images), theirs(given))


def test_sizes_and_scales_come_from_the_presets() -> None:
    def of(name: str) -> Preprocessing:
        return preprocessing(published(name, "here"), "here")

    half = (0.5, 0.5, 0.5)
    assert of("resnet50") == STANDARD
    assert of("torchvision:inception_v3") == Preprocessing((342,), 299, mean=half, sd=half)
    assert of("torchvision:googlenet") == replace(STANDARD, mean=half, sd=half)
    assert of("efficientnet-b0") == replace(STANDARD, interpolation="bicubic")
    assert of("torchvision:efficientnet_b3") == Preprocessing((320,), 300, "bicubic")
    assert of("torchvision:efficientnet_v2_l") == Preprocessing((480,), 480, "bicubic", half, half)
    assert of("timm:dm_nfnet_f0.dm_in1k") == Preprocessing((213, 213), 192, "bicubic")
