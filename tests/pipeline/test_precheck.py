"""Networks and methods that cannot be carried out are refused before training; others go on."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssbench.data.dataset import DataSet, Split
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover
from ssbench.models.registry import MODELS
from ssbench.pipeline import precheck
from ssbench.pipeline.precheck import check_methods, check_networks
from ssbench.pipeline.workbench import Workbench
from tests.support.command_line import Invoke

TWO = 'models=["vgg6", "vgg16"]'
REASON = "models.1: vgg16: network 'vgg16' cannot take the images of digits, 1 x 8 x 8"


def lines(folder: Path, word: str) -> list[list[dict[str, object]]]:
    paths = sorted(folder.glob(f"*{word}*.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


def test_a_network_that_is_refused_leaves_the_others_alone(tiny: Path, invoke: Invoke) -> None:
    told = invoke("run", tiny, "--set", TWO, "--dry-run")
    assert (told.code, REASON in told.err) == (1, True)
    assert not Path("results").exists()

    ended = invoke("run", tiny, "--set", TWO)
    assert (ended.code, REASON in ended.err) == (1, True)
    folder = Path("results/tiny")
    assert all(records[-1]["status"] == "done" for records in lines(folder, "vgg6-"))
    refused = lines(folder, "vgg16-")
    assert [len(records) for records in refused] == [1, 1, 1]
    assert all(records[0]["status"] == "failed" for records in refused)
    assert all(str(records[0]["reason"]).startswith(REASON) for records in refused)
    assert len({records[0]["stage_id"] for records in refused}) == 3
    assert "cannot take the images" in (folder / "report.html").read_text()

    again = invoke("run", tiny, "--set", TWO)  # kept as they are
    assert (again.code, REASON in again.err) == (1, True)
    assert lines(folder, "vgg16-") == refused


def test_where_nothing_is_left_the_input_is_bad(tiny: Path, invoke: Invoke) -> None:
    ended = invoke("run", tiny, "--set", 'models=["vgg16", "vgg19"]')
    assert ended.code == 2
    assert "tiny.toml: models.0: vgg16: network" in ended.err
    assert "tiny.toml: models.1: vgg19: network" in ended.err
    assert not Path("results").exists()


def images(count: int, shape: tuple[int, ...]) -> Split:
    drawn = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    return Split(drawn, torch.arange(count) % 10)


def prepared(
    models: list[str], methods: list[dict[str, object]], shape: tuple[int, ...]
) -> tuple[list[Run], Workbench]:
    dataset = DataSet("noise", 10, *(images(count, shape) for count in (8, 4, 4)))
    content = {"name": "x", "dataset": "noise", "models": models, "methods": methods, "seeds": [0]}
    experiment = Experiment.model_validate(content)
    runs = plan(experiment, discover(), dataset.fingerprint, "x.toml")
    return runs, Workbench(dataset, torch.device("cpu"))


def test_a_method_is_refused_on_the_network_that_it_has_nothing_for() -> None:
    methods: list[dict[str, object]] = [{"name": "network-slimming"}, {"name": "magnitude"}]
    runs, workbench = prepared(["lenet5"], methods, (1, 28, 28))
    assert check_networks(runs, workbench, ["lenet5"]) == {}
    refused = check_methods(runs, workbench, ["lenet5"])
    assert refused.keys() == {run.id for run in runs if run.file.name == "network-slimming"}
    (reason,) = set(refused.values())
    assert reason.startswith("models.0: lenet5: network-slimming: ValueError: network slimming")


def test_every_method_of_the_package_passes_on_a_small_network() -> None:
    methods: list[dict[str, object]] = [{"name": name} for name in discover().methods]
    runs, workbench = prepared(["vgg6"], methods, (1, 8, 8))
    state = torch.get_rng_state()
    assert check_methods(runs, workbench, ["vgg6"]) == {}
    assert torch.equal(torch.get_rng_state(), state)


class Exploding(nn.Module):
    """Its outputs overflow before it has learned anything; a training may end elsewhere."""

    def __init__(self, *_: int) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layer(self.first(images).mean((2, 3)) * 1e300 * 1e300)
        return result


def test_outputs_that_overflow_without_training_refuse_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODELS, "lenet5", Exploding)
    monkeypatch.setattr(precheck, "_trials", {})
    runs, workbench = prepared(["lenet5"], [{"name": "magnitude"}], (1, 8, 8))
    assert check_networks(runs, workbench, ["lenet5"]) == {}


class Cubic(nn.Module):
    """Has weights of five dimensions, for which torch has a memory format of their own."""

    def __init__(self, *_: int) -> None:
        super().__init__()
        self.first, self.cubes = nn.Conv2d(1, 4, 3), nn.Conv3d(1, 2, 3)
        self.layer = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        result: Tensor = self.layer(maps.mean((2, 3)) + self.cubes(maps.unsqueeze(1)).mean())
        return result


def test_a_network_with_weights_of_five_dimensions_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODELS, "lenet5", Cubic)
    monkeypatch.setattr(precheck, "_trials", {})
    runs, workbench = prepared(["lenet5"], [{"name": "magnitude"}], (1, 8, 8))
    assert check_networks(runs, workbench, ["lenet5"]) == {}
    assert check_methods(runs, workbench, ["lenet5"]) == {}
    network = workbench.place(Cubic())
    assert network.get_parameter("first.weight").is_contiguous(memory_format=torch.channels_last)


class Dictionary(nn.Module):
    def __init__(self, *_: int) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layer(self.first(images).mean((2, 3)))}


class Untrained(Dictionary):
    """Raises only while it trains."""

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        if self.training:
            raise KeyError("auxiliary")
        result: Tensor = self.layer(self.first(images).mean((2, 3)))
        return result


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Dictionary, "its output is dict and not a tensor of logits"),
        (Untrained, "KeyError: 'auxiliary' (test_precheck.py, line"),
    ],
)
def test_any_error_of_a_network_becomes_a_reason(
    kind: type[nn.Module], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "lenet5", kind)
    monkeypatch.setattr(precheck, "_trials", {})
    runs, workbench = prepared(["vgg6", "lenet5"], [{"name": "magnitude"}], (1, 8, 8))
    refused = check_networks(runs, workbench, ["vgg6", "lenet5"])
    assert {run.stage.model for run in runs if run.id in refused} == {"lenet5"}
    assert all(reason.startswith(f"models.1: lenet5: {words}") for reason in refused.values())
