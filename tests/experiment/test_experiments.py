"""The experiments of the paper's tables, end to end: real pipelines, few images, one epoch."""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from ssbench.errors import BadInputError
from ssbench.experiment.retraining import RETRAINS
from ssbench.experiment.spec import shipped
from ssbench.models.pretrained import fetch, published
from ssbench.models.pretrained import load as load_weights
from ssbench.models.registry import build
from ssbench.pipeline.state import State
from ssbench.storage.checkpoints import CheckpointStore
from tests.support.command_line import Ended, Invoke
from tests.support.pictures import make_pictures


def records(folder: Path) -> list[list[dict[str, Any]]]:
    return [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    ]


def rendered(invoke: Invoke, number: int, folder: Path, out: Path) -> dict[str, str]:
    assert invoke("report", folder, "--table", number, "--out", out).code == 0
    return {
        kind: (out / f"table{number}.{kind}").read_text() for kind in ("md", "tex", "html", "csv")
    }


def succeeded(ended: Ended) -> None:
    assert ended.code == 0, ended.err


@pytest.mark.slow
def test_table_1_in_small_has_every_kind_of_row(invoke: Invoke, tmp_path: Path) -> None:
    cut = (
        "seeds=[0]",
        'models=["vgg6"]',
        "budget.kept=[0.125]",
        "train.epochs=2",
        "finetune.epochs=3",
    )
    changes = [word for change in cut for word in ("--set", change)]
    succeeded(invoke("run", "table1_smoke", *changes, "--results", tmp_path, "--quiet"))
    runs = records(tmp_path / "table1_smoke")
    last = [stages[-1] for stages in runs]
    full = tomllib.loads(shipped()["table1_cifar10"].read_text())
    assert {record["method"] for record in last} == {spec["name"] for spec in full["methods"]}
    assert {record["retrain"] for record in last} == set(RETRAINS)
    assert {record["scope"] for record in last} == {"global", "layerwise", None}
    assert {record["grain"] for record in last} == {"weight", "connection", "filter", "none"}
    assert {record["passes"] for record in last} == {1, 2, 3, None}
    assert all(record["status"] == "done" for record in last)
    totals = {r["epochs_total"] for r in last if not r["retrain"].startswith("scratch")}
    assert totals == {5}
    assert all(
        record["budget_reached"] == pytest.approx(0.125, abs=0.03)
        for record in last
        if record["grain"] in ("weight", "connection")  # whole filters are no fine measure
    )
    table = rendered(invoke, 1, tmp_path / "table1_smoke", tmp_path / "table")
    for record in last:
        assert record["label"] in table["html"].replace("&#39;", "'")
    assert all("digits" in content for content in table.values())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("imagenet"), classes=6, count=4)


def cut_down(name: str, pictures: Path, folder: Path, methods: Sequence[str]) -> Path:
    """A shipped experiment with fewer methods, on another data set; all else as it is."""
    text = shipped()[name].read_text()
    head, *entries = text.split("[[methods]]\n")
    kept = [e for e in entries if tomllib.loads(e)["name"] in methods]
    path = folder / f"{name}.toml"
    head = head.replace(
        'dataset = "imagenet"', f"dataset = {json.dumps(f'imagefolder:{pictures}')}"
    )
    path.write_text(head + "".join(f"[[methods]]\n{entry}" for entry in kept))
    return path


SHORT = [
    word
    for change in (
        "seeds=[0]", "start=random", "train.epochs=1", "train.batch_size=8", "finetune.epochs=1",
        "finetune.batch_size=8", "budget.kept=[0.23]",
    )
    for word in ("--set", change)
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.exhaustive
def test_table_2_runs_on_a_folder_of_images(invoke: Invoke, tmp_path: Path, pictures: Path) -> None:
    path = cut_down("table2_imagenet", pictures, tmp_path, ["dense", "synaptic-strength"])
    succeeded(invoke("run", path, *SHORT, "--results", tmp_path, "--quiet"))
    last = [stages[-1] for stages in records(tmp_path / "table2_imagenet")]
    assert {record["dataset"] for record in last} == {f"imagefolder:{pictures.name}"}
    assert str(pictures) not in (tmp_path / "table2_imagenet" / "experiment.json").read_text()
    assert {record["method"] for record in last} == {"dense", "synaptic-strength"}
    for record in last:
        assert record["image_shape"] == [3, 224, 224]
        assert record["model"] == "resnet50"
        assert 0 <= record["test_top5_error"] <= record["test_top1_error"] <= 100
    table = rendered(invoke, 2, tmp_path / "table2_imagenet", tmp_path / "table")
    assert "synaptic-strength" in table["tex"]
    assert "top-5" in table["md"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_table_3_sets_a_pruned_network_beside_compact_ones(
    invoke: Invoke, tmp_path: Path, pictures: Path
) -> None:
    path = cut_down("table3_compact", pictures, tmp_path, ["dense", "network-slimming"])
    models = 'models=["resnet18-imagenet","mobilenet-v2","shufflenet-v2"]'
    text = path.read_text().replace('models = ["resnet50"]', 'models = ["resnet18-imagenet"]')
    path.write_text(text)
    succeeded(invoke("run", path, *SHORT, "--set", models, "--results", tmp_path, "--quiet"))
    last = [stages[-1] for stages in records(tmp_path / "table3_compact")]
    assert {(record["method"], record["model"]) for record in last} == {
        ("dense", "resnet18-imagenet"),
        ("dense", "mobilenet-v2"),
        ("dense", "shufflenet-v2"),
        ("network-slimming", "resnet18-imagenet"),
    }
    table = rendered(invoke, 3, tmp_path / "table3_compact", tmp_path / "table")
    for name in ("network-slimming", "mobilenet-v2", "shufflenet-v2"):
        assert name in table["html"]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", ["table2_imagenet", "table3_compact"])
def test_an_imagenet_table_runs_whole(
    invoke: Invoke, tmp_path: Path, pictures: Path, name: str
) -> None:
    """All methods and networks; half an hour on two cores."""
    methods = {spec["name"] for spec in tomllib.loads(shipped()[name].read_text())["methods"]}
    path = cut_down(name, pictures, tmp_path, sorted(methods))
    succeeded(invoke("run", path, *SHORT, "--results", tmp_path, "--quiet"))
    assert {stages[-1]["method"] for stages in records(tmp_path / name)} == methods
    rendered(invoke, 2 if name.startswith("table2") else 3, tmp_path / name, tmp_path / "table")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's folder of weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Weights of a network of 1,000 classes on a web server, named as torchvision names them."""
    torch.manual_seed(5)
    state = build("resnet18-imagenet", 3, 1000).state_dict()
    (tmp_path / "web").mkdir()
    file = tmp_path / "web" / "weights.pth"
    torch.save(state, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file = file.rename(file.with_name(f"resnet18-{digest[:8]}.pth"))
    handler = partial(_Quiet, directory=str(file.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{file.name}", dict(state)
    server.shutdown()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_published_weights_are_fetched_once_and_verified(
    hub: Path, weights: tuple[str, dict[str, torch.Tensor]]
) -> None:
    url, state = weights
    path = fetch(url)
    assert path.parent == hub
    changed = path.stat().st_mtime_ns
    assert fetch(url) == path
    assert path.stat().st_mtime_ns == changed
    model = build("resnet18-imagenet", 3, 4)
    own = model.fc.weight.clone()
    load_weights(model, "resnet18-imagenet", "fc", path)
    assert torch.equal(model.conv1.weight, state["conv1.weight"])
    assert torch.equal(model.fc.weight, own)  # other classes: its own output layer stays
    with pytest.raises(BadInputError, match="holds another network's weights"):
        load_weights(build("resnet34-imagenet", 3, 4), "resnet34-imagenet", "fc", path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"expected a SHA-256 that begins with .* remove it"):
        fetch(url)


def test_without_a_network_it_is_said_where_the_file_goes(hub: Path) -> None:
    url = "http://127.0.0.1:9/resnet18-f37072fd.pth"
    with pytest.raises(BadInputError, match=rf"cannot be fetched \(.*\); put the file into {hub}"):
        fetch(url)
    assert not list(hub.glob("*"))


def test_networks_of_our_own_have_no_published_weights() -> None:
    assert published("resnet50", "here").url.endswith("resnet50-0676ba61.pth")
    with pytest.raises(BadInputError, match="here: there are no published weights of 'vgg19'"):
        published("vgg19", "here")


@pytest.mark.slow
def test_a_run_begins_with_published_weights(
    invoke: Invoke,
    tmp_path: Path,
    hub: Path,
    weights: tuple[str, dict[str, torch.Tensor]],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With next to no learning rate, the network is still the published one after training."""
    url, state = weights
    half = (0.5, 0.5, 0.5)
    how = {"resize": (72,), "crop": 64, "interpolation": "bicubic", "mean": half, "sd": half}
    theirs = replace(published("resnet18-imagenet", "here"), url=url, **how)
    monkeypatch.setattr("ssbench.experiment.networks.published", lambda *_: theirs)
    path = cut_down("table3_compact", pictures, tmp_path, ["dense", "network-slimming"])
    text = path.read_text().replace('models = ["resnet50"]', 'models = ["resnet18-imagenet"]')
    path.write_text(text.replace("lambda = 1e-5", "lambda = 0.0"))
    cut = ['models=["resnet18-imagenet"]', "start=published", "train.lr=1e-9", "finetune.lr=1e-9",
           "train.weight_decay=0.0", "finetune.weight_decay=0.0"]  # fmt: skip
    changes = [word for change in cut for word in ("--set", change)]
    succeeded(invoke("run", path, *SHORT, *changes, "--results", tmp_path, "--quiet"))
    runs = {stages[-1]["method"]: stages for stages in records(tmp_path / "table3_compact")}
    store = CheckpointStore(tmp_path / ".cache")
    for stages in runs.values():
        assert {stage["start"] for stage in stages} == {url.rsplit("/", 1)[-1]}
        for stage in stages:
            assert stage["image_shape"] == [3, 64, 64]
            assert stage["mean"] == stage["sd"] == [127.5, 127.5, 127.5]
            assert stage["preprocessing"] == {
                "resize": [72], "crop": 64, "interpolation": "bicubic",
            }  # fmt: skip
        found = State.of(store.tensors(stages[0]["stage_id"])).weights
        # Slimming's initial scale of 0.5 is for networks that have not been trained.
        for name in ("conv1.weight", "layer1.0.bn1.weight"):
            torch.testing.assert_close(found[name], state[name], atol=1e-5, rtol=0)
    assert hub.is_dir()
