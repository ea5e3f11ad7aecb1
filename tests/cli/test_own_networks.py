"""Networks and weights of one's own, from the command line to an export."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import ssbench
from ssbench.cli.check_output import CheckOutput
from ssbench.errors import BadInputError
from ssbench.models.exported import DESCRIPTION
from ssbench.models.registry import MODELS
from tests.experiment.test_networks import NET
from tests.support.command_line import Invoke

OWN = """
dataset = "digits"
models = ["my_net.py:Net", { name = "my_net.py:Net", width = 6 }]
seeds = [0]
budget = { kept = [0.5], protection = 0.0 }
train = { epochs = 1, lr = 0.05, schedule = "one-cycle" }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle" }
methods = ["dense", { name = "magnitude", grain = "filter" }]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "my_net.py").write_text(NET)
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the last record of every run."""
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(path.read_text().splitlines()[-1]) for path in paths]


def test_a_network_of_ones_own_from_a_run_to_an_export(
    own: Path, invoke: Invoke, tmp_path: Path
) -> None:
    ended = invoke("run", own, "--quiet")
    assert ended.code == 0, ended.err
    found = records(Path("results/own"))
    assert {each["model"] for each in found} == {"my_net.py:Net", "my_net.py:Net(width=6)"}
    for each in found:
        arguments = {"width": 6} if "width" in each["model"] else {}
        about = {"name": "my_net.py:Net", "arguments": arguments}
        assert about.items() <= each["architecture"].items()
        assert len(each["architecture"]["code"]) == 16

    (tmp_path / "my_net.py").write_text("gone = 1\n")  # an export needs what ran
    small = tmp_path / "small"
    ended = invoke("export", "Net-width-6--magnitude", "--to", small)
    assert ended.code == 0, ended.err
    with pytest.raises(BadInputError, match=r"network.py; read it, then .* trust_code=True"):
        ssbench.load(small)
    network = ssbench.load(small, trust_code=True)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert json.loads((small / DESCRIPTION).read_text())["model"] == "my_net.py:Net"
    (small / "network.py").write_text(NET + "\n")
    with pytest.raises(BadInputError, match=r"network\.py: was altered after it was written"):
        ssbench.load(small, trust_code=True)


@pytest.mark.slow
def test_side_by_side_the_records_are_the_same(own: Path, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "my_net.py").rename(tmp_path / "away" / "my_net.py")
    named = ("--set", "models=['Net']", "--model-file", tmp_path / "away" / "my_net.py")
    for folder, more in (("one", ()), ("two", ("--concurrency", 2))):
        ended = invoke("run", own, "--quiet", "--results", folder, *named, *more)
        assert ended.code == 0, ended.err
    one, two = (records(Path(folder) / "own") for folder in ("one", "two"))
    for key in ("run", "model", "test_loss", "params_compact", "stage_id"):
        assert [each[key] for each in one] == [each[key] for each in two]


BROKEN = {
    "branches on its data": (
        "def forward(self, images):\n        if images.sum() > 0:\n            return images",
        r"Net cannot be traced with torch.fx: forward\(\) at `if images.sum\(\) > 0:`",
    ),
    "draws from elsewhere": (
        "def forward(self, images):\n        return self.fc(self.conv(images).mean((2, 3)))\n\n"
        "import random\n_init = Net.__init__\n"
        "def drawn(self, channels, classes):\n"
        "    _init(self, channels, classes)\n"
        "    self.fc.weight.data.fill_(random.random())\n"
        "Net.__init__ = drawn\n",
        "fc.weight differs when the network is built twice with one seed",
    ),
    "fails": (
        "def forward(self, images):\n        return self.fc(images)",
        "network 'my_net.py:Net' cannot take the images of digits, 1 x 8 x 8",
    ),
    "has other outputs": (
        "def forward(self, images):\n"
        "        return self.fc(self.conv(images).mean((2, 3))).unsqueeze(1)",
        r"its output is \(2, 1, 10\) and not a tensor of logits, \[2, 10\]",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_tried_is_refused_before_training(
    case: str, own: Path, invoke: Invoke, tmp_path: Path
) -> None:
    code, says = BROKEN[case]
    start = NET.index("def forward")
    (tmp_path / "my_net.py").write_text(NET[:start] + code + "\n")
    ended = invoke("run", own, "--set", 'models=["my_net.py:Net"]')
    assert ended.code == 2
    assert not Path("results").exists()
    assert re.search(f"models.0: my_net.py:Net: .*{says}", ended.err), ended.err


GIVEN = """
dataset = "digits"
models = ["vgg6"]
start = "best.pth"
seeds = [0]
budget = { kept = [0.5], protection = 0.0 }
train = { epochs = 0 }
finetune = { epochs = 0 }
methods = ["dense", { name = "magnitude", grain = "filter" }, "synaptic-strength"]
"""


@pytest.fixture
def given(tmp_path: Path, tiny: Path, invoke: Invoke) -> Path:
    """An experiment that prunes weights which another experiment trained, without training."""
    assert invoke("run", tiny, "--only", "dense", "--results", "elsewhere", "--quiet").code == 0
    assert invoke("export", "dense", "--to", "dense", "--results", "elsewhere").code == 0
    torch.save({"state_dict": ssbench.load("dense").state_dict()}, tmp_path / "best.pth")
    path = tmp_path / "given.toml"
    path.write_text(GIVEN)
    return path


def test_weights_are_pruned_without_a_training(given: Path, invoke: Invoke) -> None:
    ended = invoke("run", given)
    assert ended.code == 0, ended.err
    elsewhere = records(Path("elsewhere/tiny"))
    found = {each["method"]: each for each in records(Path("results/given"))}
    assert found["dense"]["test_loss"] == pytest.approx(elsewhere[0]["test_loss"], rel=1e-5)
    for method in ("magnitude", "synaptic-strength"):
        assert found[method]["epochs_total"] == 0
        assert found[method]["surgery_difference"] < 1e-5
    assert {each["model"] for each in found.values()} == {"vgg6 from best.pth"}
    assert all(each["start"].startswith("weights given: best.pth (SHA") for each in found.values())
    report = Path("results/given/report.md").read_text()
    assert "First weights" in report
    assert "vgg6 from best.pth: weights given: best.pth (SHA-256 " in report


def test_rows_of_given_weights_have_a_table_of_their_own(given: Path, invoke: Invoke) -> None:
    models = 'models=["vgg6", { name = "vgg6", weights = "best.pth" }]'
    epochs = ("--set", "train.epochs=1", "--set", "start=random")
    ended = invoke("run", given, "--set", models, *epochs, "--only", "magnitude")
    assert ended.code == 0, ended.err
    report = Path("results/given/report.md").read_text()
    assert "vgg6 on digits" in report
    assert "vgg6 from best.pth on digits" in report


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (
            MODELS["vgg-small"](1, 10).state_dict(),
            "models.0: .*network's weights: 31 of another",
        ),
        (MODELS["resnet20"](1, 10).state_dict(), "missing: features.0.weight.*unexpected: conv.w"),
        ([1], "holds list instead of tensors by name"),
    ],
)
def test_weights_that_do_not_fit_stop_before_training(
    kept: object, says: str, tmp_path: Path, invoke: Invoke
) -> None:
    torch.save(kept, tmp_path / "best.pth")
    (tmp_path / "given.toml").write_text(GIVEN)
    ended = invoke("run", tmp_path / "given.toml")
    assert ended.code == 2
    assert re.search(says, ended.err), ended.err
    assert not Path("results").exists()


def test_an_output_layer_of_other_classes_is_named(tmp_path: Path, invoke: Invoke) -> None:
    torch.save(MODELS["vgg6"](1, 7).state_dict(), tmp_path / "best.pth")
    (tmp_path / "given.toml").write_text(GIVEN)
    ended = invoke("run", tmp_path / "given.toml", "--only", "dense")
    assert ended.code == 0
    assert "the output layer classifier starts with random weights" in ended.err


def test_check_shows_what_every_method_can_do(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "my_net.py"
    file.write_text(NET)
    ended = invoke("check", f"{file}:Net", "--data", "digits", "--json")
    assert ended.code == 0, ended.err
    found = CheckOutput.model_validate_json(ended.out)
    verdicts = {each.method: each for each in found.methods}
    assert (found.network, found.image) == ("my_net.py:Net", [1, 8, 8])
    assert verdicts["magnitude (filter)"].verdict == "works"
    refused = verdicts["network-slimming"]
    assert (refused.verdict, "needs batch norms" in refused.reason) == ("refused", True)
    assert all(each.difference < 1e-5 for each in found.methods if each.difference is not None)


def test_check_of_a_network_that_is_refused(invoke: Invoke) -> None:
    ended = invoke("check", "vgg16", "--data", "digits")
    assert ended.code == 1
    assert "refused: network 'vgg16' cannot take the images of digits" in ended.out
    assert invoke("check", "vgg66").code == 2


def test_lists_show_networks_of_ones_own(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(NET)
    listed = invoke("list", "models", "--model-file", tmp_path / "my_net.py", "--json")
    assert listed.code == 0, listed.err
    (mine,) = [each for each in json.loads(listed.out)["models"] if each["name"] == "Net"]
    assert (mine["classes"], mine["params"]) == (10, 3 * 4 * 9 + 4 + 4 * 10 + 10)
