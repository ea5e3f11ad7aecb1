"""Networks from a user's file or from another package."""

import importlib.metadata
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ssbench.errors import BadInputError, RunFailedError
from ssbench.models import own
from ssbench.models.architecture import Architecture

NET = '''
"""A network."""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes, width=4, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.fc = nn.Linear(width, classes)

    def forward(self, images):
        return self.fc(torch.relu(self.conv(images)).mean((2, 3)))

def wide(in_chans, num_classes):
    return Net(in_chans, num_classes, width=9)

def open_ended(**arguments):
    return Net(**arguments)

def nothing(classes):
    return [classes]

class _Block(nn.Module):
    pass

class Part(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()

number = 3
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_net.py"
    path.write_text(NET)
    return path


@pytest.mark.parametrize(
    ("name", "arguments", "width"),
    [("Net", {}, 4), ("Net", {"width": 7}, 7), ("wide", {}, 9), ("open_ended", {"width": 5}, 5)],
)
def test_a_class_or_a_function_gets_channels_and_classes_by_name(
    file: Path, name: str, arguments: dict[str, int], width: int
) -> None:
    network = own.read(file, name, "models.0").build(2, 6, arguments)
    assert isinstance(network.conv, nn.Conv2d)
    assert (network.conv.in_channels, network.conv.out_channels) == (2, width)
    assert network(torch.zeros(1, 2, 8, 8)).shape == (1, 6)


def test_what_builds_a_network_alone_is_offered_by_name(file: Path) -> None:
    assert own.networks_in(file, "x") == ["Net", "wide", "nothing"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nett", r"has no network 'Nett'; did you mean 'Net'\?"),
        ("number", "number is int, not a class or function"),
    ],
)
def test_a_name_that_the_file_lacks(file: Path, name: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        own.read(file, name, "models.0")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"widht": 3}, r"models.0.widht: no argument of this network; did you mean 'width'\?"),
        ({"classes": 3}, "models.0.classes: the data set decides it; remove it"),
    ],
)
def test_arguments_that_it_does_not_take(file: Path, arguments: dict[str, int], says: str) -> None:
    architecture = Architecture.of("my_net.py:Net", arguments, own.read(file, "Net", "models.0"))
    with pytest.raises(BadInputError, match=says):
        architecture.check_arguments("models.0")


def test_a_function_that_returns_no_network(file: Path) -> None:
    with pytest.raises(RunFailedError, match=r"nothing of .*my_net.py returns list, not a"):
        own.read(file, "nothing", "models.0").build(1, 2, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = (\n", r"SyntaxError: .*my_net.py, line 1"),
        ("a = 1\nb = 1 / 0\n", r"ZeroDivisionError: .*my_net.py, line 2\)"),
        ("import blocks_beside\n", "imports blocks_beside.py beside it.*the same file"),
        ("import not_there\n", "ModuleNotFoundError"),
    ],
)
@pytest.mark.parametrize("on_path", [True, False])
def test_a_file_that_cannot_be_imported(
    tmp_path: Path, text: str, says: str, on_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my_net.py"
    path.write_text(text)
    (tmp_path / "blocks_beside.py").write_text("")
    if on_path:  # as with `python -m`, or PYTHONPATH
        monkeypatch.syspath_prepend(tmp_path)
    elif "beside" in text:
        says = "imported: ModuleNotFoundError.*the same file"
    with pytest.raises(BadInputError, match=f"(?s){says}"):
        own.read(path, "Net", "models.0")
    assert "blocks_beside" not in sys.modules


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"models.0: .*gone.py cannot be read \(No such file"):
        own.read(tmp_path / "gone.py", "Net", "models.0")


def test_the_text_of_a_file_travels_with_its_code(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pickle.dumps(Architecture.of("my_net.py:Net", {"width": 5}, own.read(file, "Net", "x")))
    file.unlink()
    monkeypatch.setattr(own, "_modules", {})  # as in another process
    got = pickle.loads(sent)  # noqa: S301 -- made above
    assert str(got) == "my_net.py:Net(width=5)"
    assert got.build(1, 2).conv.out_channels == 5


def test_a_network_of_a_package_and_a_change_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "a_package_of_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("their-net", "a_package_of_nets.nets:Net", own.GROUP)
    code = own.of_package(entry, "models.0")
    assert code.build(1, 3, {}).fc.out_features == 3
    (package / "blocks.py").write_text("changed = 1\n")
    with pytest.raises(BadInputError, match="differs from the one of the experiment"):
        code.build(1, 3, {})
