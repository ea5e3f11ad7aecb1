"""Exported networks: the same outputs elsewhere, and nothing else is taken for one."""

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ssbench
from ssbench.data.registry import open_dataset
from ssbench.errors import BadInputError, NotFiniteError
from ssbench.models.channel_selection import ChannelSelection
from ssbench.models.exported import read
from ssbench.models.registry import MODELS
from ssbench.pipeline.export import compact_network, describe, export, run_onnx
from ssbench.pruning.equivalence import noise
from ssbench.pruning.graph.structure import structure_of
from ssbench.pruning.surgery import zeroed_parameters
from ssbench.storage.records import load as load_records
from tests.support.command_line import Invoke

FORMATS = ["safetensors", "onnx", "pt2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small experiment, run by a process of its own."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "tiny.toml").write_text(
        """
        dataset = "digits"
        models = ["vgg6"]
        seeds = [0]
        budget = { kept = [0.1] }
        train = { epochs = 2, lr = 0.05, schedule = "one-cycle" }
        finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle" }
        methods = [{ name = "dense" }, { name = "magnitude", grain = "connection" }]
        """
    )
    subprocess.run(
        [sys.executable, "-m", "ssbench", "run", "tiny.toml", "--quiet"], cwd=folder, check=True
    )
    return folder / "results"


def images_and_labels() -> tuple[Tensor, Tensor]:
    data = open_dataset("digits", Path())
    mean, sd = data.normalisation
    return (data.test.images.float() - mean) / sd, data.test.labels


def answer(folder: Path, images: Tensor) -> Tensor:
    """The logits of an exported network, opened as its format is."""
    found = read(folder)
    with torch.no_grad():
        if found.kind == "safetensors":
            result: Tensor = ssbench.load(folder)(images)
        elif found.kind == "pt2":
            result = torch.export.load(folder / found.file).module()(images)
        else:
            result = torch.from_numpy(run_onnx(folder / found.file, images))
    return result


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("method", ["dense", "magnitude"])
def test_an_exported_network_has_the_same_test_error(
    finished: Path, invoke: Invoke, tmp_path: Path, kind: str, method: str
) -> None:
    to = tmp_path / "deep" / kind
    ended = invoke("export", method, "--to", to, "--format", kind, "--results", finished)
    assert ended.code == 0, ended.err
    assert ended.out.strip() == str(to)
    assert sorted(path.name for path in to.iterdir()) == [f"model.{kind}", "network.json"]
    record = next(
        r for r in load_records(finished / "tiny") if r["method"] == method
        and r["stage"] == "finetune" and r["protection"] != 0
    )  # fmt: skip
    images, labels = images_and_labels()
    found = answer(to, images)
    wrong = 100 * float((found.argmax(1) != labels).double().mean())
    assert wrong == pytest.approx(record["test_top1_error"], abs=1e-9)
    description = read(to)
    assert description.run == record
    mean, sd = open_dataset("digits", Path()).normalisation
    assert description.mean == mean.flatten().tolist()
    assert description.sd == sd.flatten().tolist()
    assert answer(to, images[:1]).shape == (1, 10)


NETWORKS = {"vgg6": (1, 8, 8), "resnet20": (3, 16, 16), "densenet40": (3, 16, 16),
            "mobilenet": (3, 32, 32), "lenet5": (1, 28, 28)}  # fmt: skip


def masked(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network with random statistics and filters, and what a finetuning would leave of it."""
    torch.manual_seed(1)
    model = MODELS[name](NETWORKS[name][0], 10).eval()
    masks = {}
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
    for layer in structure_of(model).prunable:
        shape = model.get_parameter(layer.weight).shape
        masks[layer.weight] = (torch.rand(shape[0], *(1,) * (len(shape) - 1)) < 0.6).expand(shape)
    zeros = zeroed_parameters(structure_of(model), model, masks)
    with torch.no_grad():
        for key, mask in zeros.items():
            model.get_parameter(key).mul_(mask)
    return model, dict(model.state_dict()) | {f"held:{key}": mask for key, mask in zeros.items()}


def selected(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """The same, but of the channels that layers read: network slimming before the convolution."""
    model, _ = masked(name)
    structure = structure_of(model)
    masks = {
        layer.weight: (torch.rand(layer.inputs) < 0.6)
        .reshape(1, -1, *(1,) * (model.get_parameter(layer.weight).dim() - 2))
        .expand(model.get_parameter(layer.weight).shape)
        for layer in structure.layers[1:]
    }
    zeros = zeroed_parameters(structure, model, masks)
    with torch.no_grad():
        for key, mask in zeros.items():
            model.get_parameter(key).mul_(mask)
    return model, dict(model.state_dict()) | {f"held:{key}": mask for key, mask in zeros.items()}


def record_of(name: str) -> dict[str, object]:
    shape = NETWORKS[name]
    ones = [1.0] * shape[0]
    return {"model": name, "classes": 10, "image_shape": list(shape), "mean": ones, "sd": ones}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_shortcuts_concatenations_and_depthwise_convolutions_come_back(
    name: str, kind: str, tmp_path: Path
) -> None:
    model, tensors = masked(name)
    network, difference = compact_network(record_of(name), tensors)
    assert difference < 1e-10
    export(network, describe(network, record_of(name), difference), kind, tmp_path / "out")
    images = noise(NETWORKS[name], seed=5)
    with torch.no_grad():
        expected = model(images)
    found = answer(tmp_path / "out", images)
    assert float((found - expected).abs().max() / expected.abs().max().clamp_min(1)) < 1e-4
    if kind == "safetensors":
        loaded = ssbench.load(tmp_path / "out")
        assert sum(p.numel() for p in loaded.parameters()) < sum(
            p.numel() for p in model.parameters()
        )
        assert not loaded.training
        loaded.train()(images).sum().backward()  # it can be trained on
        convs = [m for m in loaded.modules() if isinstance(m, nn.Conv2d)]
        assert all(m.weight.shape[:2] == (m.out_channels, m.in_channels // m.groups) for m in convs)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["densenet40", "lenet5"])
def test_channel_selections_come_back(name: str, kind: str, tmp_path: Path) -> None:
    """Before batch norms that others than one convolution feed, and behind a flattening."""
    model, tensors = selected(name)
    network, difference = compact_network(record_of(name), tensors)
    assert difference < 1e-10
    selections = [m for m in network.modules() if isinstance(m, ChannelSelection)]
    assert len(selections) > (30 if name == "densenet40" else 0)
    export(network, describe(network, record_of(name), difference), kind, tmp_path / "out")
    images = noise(NETWORKS[name], seed=5)
    with torch.no_grad():
        expected = model(images)
    found = answer(tmp_path / "out", images)
    assert float((found - expected).abs().max() / expected.abs().max().clamp_min(1)) < 1e-4
    if kind == "safetensors":
        loaded = ssbench.load(tmp_path / "out")
        assert [m for m in loaded.state_dict() if m.endswith("0.index")]
        loaded.train()(images).sum().backward()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    network, difference = compact_network(record_of("vgg6"), masked("vgg6")[1])
    description = describe(network, record_of("vgg6"), difference)
    export(network, description, "safetensors", tmp_path / "out")
    return tmp_path / "out"


def reseal(folder: Path, **changes: object) -> None:
    """Forge a description: what someone could write who knows how seals are made."""
    path = folder / "network.json"
    content = json.loads(path.read_text()) | changes
    del content["seal"]
    text = json.dumps(content, indent=1)
    path.write_text(json.dumps(content | {"seal": hashlib.sha256(text.encode()).hexdigest()}))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def flip_one_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(bytes(content))


def change_a_number(folder: Path) -> None:
    path = folder / "network.json"
    path.write_text(path.read_text().replace('"classes": 10', '"classes": 11'))


def remove_the_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def remove_the_description(folder: Path) -> None:
    (folder / "network.json").unlink()


def write_foreign_json(folder: Path) -> None:
    (folder / "network.json").write_text('{"model_type": "bert", "seal": "x"}')


def write_no_json(folder: Path) -> None:
    (folder / "network.json").write_bytes(b"\x80\x04K\x01.")


def write_a_list(folder: Path) -> None:
    (folder / "network.json").write_text("[1, 2]")


def name_another_network(folder: Path) -> None:
    reseal(folder, model="vgg7")


def take_another_networks_name(folder: Path) -> None:
    reseal(folder, model="lenet5")


def take_other_groups(folder: Path) -> None:
    reseal(folder, groups={"features.3": 4})


def point_out_of_the_folder(folder: Path) -> None:
    reseal(folder, file="../model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"model\.safetensors: \d+ bytes instead of \d+: truncated or replaced"),
        (flip_one_bit, r"model\.safetensors: its SHA-256 is .* altered"),
        (change_a_number, r"network\.json: was altered"),
        (remove_the_model, r"model\.safetensors: cannot be read"),
        (remove_the_description, r"network\.json: cannot be read .* ssbench export wrote"),
        (write_foreign_json, r"network\.json: not written by ssbench export"),
        (write_no_json, r"network\.json: not written by ssbench export"),
        (write_a_list, r"network\.json: not written by ssbench export"),
        (name_another_network, r"unknown model 'vgg7'; did you mean"),
        (take_another_networks_name, "the tensors do not fit this network"),
        (take_other_groups, "the shapes do not fit vgg6"),
        (point_out_of_the_folder, r"network\.json: not written by ssbench export"),
    ],
)
def test_what_was_not_exported_like_this_is_refused(
    exported: Path, damage: Callable[[Path], None], message: str
) -> None:
    ssbench.load(exported)
    damage(exported)
    with pytest.raises(BadInputError, match=message):
        ssbench.load(exported)


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(exported: Path) -> None:
    trace = exported / "trace"
    content = pickle.dumps(Bomb(trace))
    (exported / "model.safetensors").write_bytes(content)
    reseal(exported, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(BadInputError, match="not safetensors"):
        ssbench.load(exported)
    assert not trace.exists()


def test_outputs_that_overflow_are_not_said_to_differ(tmp_path: Path) -> None:
    network, difference = compact_network(record_of("vgg6"), masked("vgg6")[1])
    with torch.no_grad():
        network.get_parameter("features.0.weight").mul_(1e38).mul_(1e38)
    with pytest.raises(NotFiniteError, match="an output of the network is not finite"):
        export(network, describe(network, record_of("vgg6"), difference), "pt2", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_other_formats_say_what_opens_them(tmp_path: Path) -> None:
    network, difference = compact_network(record_of("vgg6"), masked("vgg6")[1])
    export(network, describe(network, record_of("vgg6"), difference), "pt2", tmp_path / "out")
    with pytest.raises(BadInputError, match=r"holds pt2; open .* with torch\.export\.load"):
        ssbench.load(tmp_path / "out")


def test_a_new_process_needs_the_folder_only(exported: Path) -> None:
    code = (
        "import sys, ssbench; assert 'torch' not in sys.modules; import torch; "
        f"print(ssbench.load({str(exported)!r})(torch.ones(2, 1, 8, 8)).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=exported, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "torch.Size([2, 10])"


def test_bad_exports_leave_nothing_behind(finished: Path, invoke: Invoke, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("precious")
    places = ("--results", finished)
    for arguments, message in (
        (("nonesuch", "--to", tmp_path / "a", *places), "no run of this id"),
        (("seed0", "--to", tmp_path / "a", *places), "runs match"),
        (("dense", "--to", full, *places), "exists and is not an empty folder"),
        (("dense", "--to", full / "mine.txt", *places), "exists and is not an empty folder"),
        (("dense", "--to", tmp_path / "a", "--cache", tmp_path, *places), "checkpoint is not in"),
    ):
        ended = invoke("export", *arguments)
        assert (ended.code, message in ended.err) == (2, True), ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "full"]
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    assert invoke("export", "dense", "--to", tmp_path / "a", "--format", "h5", *places).code == 2
