"""The key ``models``: networks of one's own, arguments, and weights, as they enter stage ids."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ssbench.errors import BadInputError
from ssbench.experiment.networks import find_starts
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment, load
from ssbench.experiment.stage import Stage
from ssbench.method.registry import discover
from ssbench.models import own
from ssbench.models.registry import MODELS

REGISTRY = discover()
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes, width=4):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3)
        self.fc = nn.Linear(width, classes)

    def forward(self, images):
        return self.fc(self.conv(images).relu().mean((2, 3)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file with a network and one with weights, beside an experiment."""
    (tmp_path / "my_net.py").write_text(NET)
    torch.save(MODELS["vgg6"](1, 10).state_dict(), tmp_path / "best.pth")
    return tmp_path


def experiment(models: list[Any], **more: Any) -> Experiment:
    keys = {"name": "x", "dataset": "digits", "methods": [{"name": "magnitude"}], "seeds": [0]}
    return Experiment.model_validate(keys | {"models": models, "budget": {"kept": 0.5}} | more)


def stages(folder: Path, models: list[Any], *files: Path, **more: Any) -> list[list[Stage]]:
    source = str(folder / "e.toml")
    runs = plan(experiment(models, **more), REGISTRY, "data", source, files)
    return [run.stages for run in runs]


def ids(folder: Path, models: list[Any], *files: Path, **more: Any) -> list[str]:
    return [stage.id for chain in stages(folder, models, *files, **more) for stage in chain]


def test_the_content_of_a_file_is_part_of_every_stages_id(folder: Path) -> None:
    first = ids(folder, ["my_net.py:Net"])
    other = folder / "elsewhere"
    other.mkdir()
    (folder / "my_net.py").rename(other / "my_net.py")
    assert ids(folder, ["elsewhere/my_net.py:Net"]) == first  # not where it lies
    (other / "my_net.py").write_text(NET + "\n")
    assert not set(ids(folder, ["elsewhere/my_net.py:Net"])) & set(first)


def test_arguments_are_part_of_the_id_and_of_the_name(folder: Path) -> None:
    models = ["my_net.py:Net", {"name": "my_net.py:Net", "width": 8}, {"name": "vgg6", "width": 2}]
    chains = stages(folder, models)
    assert len({chain[0].id for chain in chains}) == 3
    assert list(dict.fromkeys(chain[0].model for chain in chains)) == [
        "my_net.py:Net", "my_net.py:Net(width=8)", "vgg6(width=2)"
    ]  # fmt: skip


def test_a_network_by_name_from_a_model_file(folder: Path) -> None:
    (chain, *_) = stages(folder, ["Net"], folder / "my_net.py")
    assert chain[0].model == "Net"
    assert chain[0].architecture.build(1, 3).fc.out_features == 3
    with pytest.raises(BadInputError, match=r"unknown model 'Nett'; did you mean 'Net'\?"):
        stages(folder, ["Nett"], folder / "my_net.py")
    (folder / "again.py").write_text(NET)
    with pytest.raises(BadInputError, match=r"'Net' is a network of --model-file .*my_net.py and"):
        stages(folder, ["Net"], folder / "my_net.py", folder / "again.py")
    (folder / "empty.py").write_text("x = 1\n")
    with pytest.raises(BadInputError, match=r"empty.py: defines no network"):
        stages(folder, ["Net"], folder / "empty.py")


def test_a_name_of_ssbench_cannot_be_taken(folder: Path) -> None:
    (folder / "taken.py").write_text(NET.replace("Net", "vgg6"))
    with pytest.raises(BadInputError, match=r"of --model-file .*taken.py and of ssbench; rename"):
        stages(folder, ["vgg6"], folder / "taken.py")


def test_a_network_of_a_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    monkeypatch.syspath_prepend(folder)
    (folder / "a_module_of_nets.py").write_text(NET)
    entry = EntryPoint("their-net", "a_module_of_nets:Net", own.GROUP)
    monkeypatch.setattr(own, "packaged", lambda: {"their-net": entry})
    (chain, *_) = stages(folder, [{"name": "their-net", "width": 3}])
    assert chain[0].model == "their-net(width=3)"
    assert chain[0].architecture.build(1, 3).conv.out_channels == 3


def test_a_file_that_changes_torchs_settings_is_refused(folder: Path) -> None:
    (folder / "rude.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n" + NET)
    with pytest.raises(BadInputError, match=r"models.0: the import of .*rude.py changed"):
        stages(folder, ["rude.py:Net"])
    assert torch.get_default_dtype() is torch.float32


def test_weights_by_their_content_in_ids_records_and_names(folder: Path) -> None:
    plain = ids(folder, ["vgg6"])
    given = ids(folder, [{"name": "vgg6", "weights": "best.pth"}])
    assert not set(plain) & set(given)
    assert ids(folder, ["vgg6"], start="best.pth") == given
    (folder / "best.pth").rename(folder / "renamed.pth")
    assert ids(folder, ["vgg6"], start="renamed.pth") == given
    chains = stages(folder, ["vgg6"], start="renamed.pth")
    assert {chain[0].model for chain in chains} == {"vgg6 from renamed.pth"}
    torch.save(MODELS["vgg6"](1, 10).state_dict(), folder / "renamed.pth")
    assert not set(ids(folder, ["vgg6"], start="renamed.pth")) & set(given)


def test_paths_may_be_relative_to_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    away = folder / "away"
    away.mkdir()
    assert ids(away, ["my_net.py:Net"]) == ids(folder, ["my_net.py:Net"])
    assert ids(away, ["vgg6"], start="best.pth") == ids(folder, ["vgg6"], start="best.pth")


@pytest.mark.parametrize(
    ("models", "more", "says"),
    [
        (["my_net.py:Nett"], {}, r"models.0: .*my_net.py: has no network 'Nett'; did you mean"),
        (["gone.py:Net"], {}, r"models.0: .*gone.py cannot be read"),
        ([{"name": "my_net.py:Net", "depth": 2}], {}, r"models.0.depth: no argument of this net"),
        ([{"name": "vgg6", "widht": 2}], {}, r"models.0.widht: .* did you mean 'width'"),
        ([{"name": "torchvision:resnet18", "classes": 2}], {}, r"models.0.classes: the data set"),
        ([{"name": "vgg6", "weights": "gone.pth"}], {}, r"models.0: weights: .*gone.pth cannot be"),
        (["my_net.py:Net", "./my_net.py:Net"], {}, r"models.1: .*is the network of models.0"),
        (["my_net.py:Net"], {"start": "published"}, r"no published weights of 'my_net.py:Net'"),
        (["vgg6"], {"train": {"epochs": 0}}, r"train.epochs: 0, but models.0 \(vgg6\) starts with"),
    ],
)
def test_what_is_refused(folder: Path, models: list[Any], more: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        find_starts(experiment(models, **more), "data", str(folder / "e.toml"), (), None)


def test_two_files_of_one_name(folder: Path) -> None:
    (folder / "b").mkdir()
    (folder / "b" / "my_net.py").write_text(NET + "\n")
    with pytest.raises(BadInputError, match=r"two different networks would be called 'my_net.py"):
        stages(folder, ["my_net.py:Net", "b/my_net.py:Net"])


@pytest.mark.parametrize("retrain", ["lr-rewind", "weight-rewind", "scratch-e", "scratch-b"])
def test_without_epochs_nothing_is_rewound_or_trained_from_scratch(
    folder: Path, retrain: str
) -> None:
    methods = [{"name": "magnitude", "retrain": retrain}]
    more = {"start": "best.pth", "train": {"epochs": 0}, "finetune": {"epochs": 0}}
    with pytest.raises(BadInputError, match=rf"methods.0.retrain: '{retrain}'"):
        stages(folder, ["vgg6"], methods=methods, **more)


def test_methods_name_networks_with_or_without_arguments(folder: Path) -> None:
    models = [{"name": "vgg6", "width": 2}, "vgg16", {"name": "vgg6", "weights": "best.pth"}]
    for names, meant in [
        (["vgg6"], {"vgg6(width=2)", "vgg6 from best.pth"}),
        (["vgg6(width=2)"], {"vgg6(width=2)"}),
        (["vgg16"], {"vgg16"}),
    ]:
        methods = [{"name": "magnitude", "models": names}]
        chains = stages(folder, models, methods=methods)
        assert {chain[0].model for chain in chains} == meant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models = [3]", "models.0: "),
        ("models = [{ width = 3 }]", "models.0.name: this key is missing"),
        ('models = ["vgg6"]\nstart = "model.ckpt"', "start: input should be 'random', 'published'"),
    ],
)
def test_a_wrong_key_is_named(folder: Path, text: str, says: str) -> None:
    path = folder / "e.toml"
    path.write_text(f'dataset = "digits"\nmethods = "all"\n{text}\n')
    with pytest.raises(BadInputError, match=says):
        load(path)
