"""What many tests share: the command line in this process, and small experiments."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ssbench import cli
from tests.pretended import Pretended, pretended

TINY = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = [0.5, 0.1] }
train = { epochs = 1, lr = 0.05, schedule = "one-cycle" }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle" }
methods = [{ name = "dense" }, { name = "magnitude", grain = "connection" }]
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Invoke = Callable[..., Ended]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def invoke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Invoke:
    """Call the command line as the shell does, in an empty folder, and return how it ended."""
    folder = tmp_path / "elsewhere"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["ssbench", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return call


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """Let there be a GPU, which `tests.pretended` pretends."""
    with pretended(monkeypatch) as device:
        yield device
