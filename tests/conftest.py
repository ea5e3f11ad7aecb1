"""What many tests share: the command line in this process, and small experiments."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ssbench.cli import app
from tests.support.command_line import TINY, Ended, Invoke
from tests.support.pretended_gpu import Pretended, pretended


def pytest_configure() -> None:
    """Give each of several test processes, and what it starts, one thread: more would only wait."""
    if "PYTEST_XDIST_WORKER" in os.environ and "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


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
            app.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return call


@pytest.fixture(autouse=True, scope="session")
def _data_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept of data sets goes to a folder of the tests."""
    os.environ.setdefault("SSBENCH_DATA", str(tmp_path_factory.mktemp("sets")))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """Let there be a GPU, which `tests.support.pretended_gpu` pretends."""
    with pretended(monkeypatch) as device:
        yield device
