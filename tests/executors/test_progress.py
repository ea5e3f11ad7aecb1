"""The display of a run: the remaining work, bars on a narrow terminal, finished rows."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from ssbench.executors.progress import Quiet, Rich
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load
from ssbench.method.registry import discover
from ssbench.training.loop import Epoch
from tests.support.command_line import TINY


def test_the_time_left_is_that_of_stages_that_are_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    *before, last = plan(load(path), discover(), "digits", "tiny.toml")
    observer = Quiet([*before, last], Console(quiet=True))
    for run in before:
        observer.run_done(run, {"status": "ok"}, before=True)
    done = {stage.id for run in before for stage in run.stages}
    new = [stage for stage in last.stages if stage.id not in done]
    assert observer.work.seconds_left() is None  # nothing was timed yet
    observer.stage_started(last, new[0])
    trained = next(stage for stage in new if stage.epochs)
    observer.epoch(trained, Epoch(1, trained.epochs, 1.0, 50.0, 100.0))
    left = sum(stage.epochs for stage in new) - 1
    assert sum(observer.work.left.values()) == left
    observer.run_done(last, {"status": "ok"}, before=False)
    assert observer.work.seconds_left() == 0


LONG = "a label that is longer than any screen is wide, as sweeps of hyper-parameters make them"


def displayed(tmp_path: Path, width: int) -> str:
    """What a terminal of this width receives of a run with long names."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace('grain = "connection"', f'label = "{LONG}"'))
    runs = plan(load(path), discover(), "digits", "tiny.toml")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    with Rich(runs, console) as display:
        display.live.auto_refresh = False
        for run in runs:
            for stage in run.stages:
                display.stage_started(run, stage)
                for number in range(1, stage.epochs + 1):
                    display.epoch(stage, Epoch(number, stage.epochs, 1.2345, 50.0, 100.0))
                display.live.refresh()
                display.stage_done(stage)
            display.run_done(run, {"status": "done", "test_top1_error": 1.5}, before=False)
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_bars_keep_count_label_and_time_left_beside_long_names(width: int, tmp_path: Path) -> None:
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", displayed(tmp_path, width)).splitlines()
    bars = [line.rstrip() for line in lines if re.match(r"(runs|train|prune|finetune) ", line)]
    assert bars
    assert max(map(len, bars)) <= width
    assert all(re.search(r" \d/\d ", line) for line in bars)
    stages = [line for line in bars if not line.startswith("runs")]
    assert all(line.endswith("seed 0") for line in stages)  # what distinguishes a run is shown
    assert any(line.startswith("runs") and line.endswith("s left") for line in bars)
    assert any("loss 1.2345  error 50.00 %" in line for line in stages)


def test_finished_rows_stay_above_the_bars(tmp_path: Path) -> None:
    text = displayed(tmp_path, 80)
    rows = re.findall(r"\[(\d)/3\] (digits vgg6 .+?): test error 1.50 %", text)
    assert [number for number, _ in rows] == ["1", "2", "3"]
    assert LONG in rows[1][1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_real_terminal_shows_rows_and_the_bar(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace('grain = "connection"', f'label = "{LONG}"'))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    command = [sys.executable, "-m", "ssbench", "run", str(path), "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=theirs, stdout=subprocess.DEVNULL,
        env=environment | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read_all(ours))
    assert process.wait() == 0
    assert len(re.findall(r"\[\d/3\] digits vgg6 .*?: test error", text)) == 3
    assert re.search(r"runs  .* [0-3]/3 .*left", text)
    # the last frame of the bars comes before the last row, which pushes them down
    assert text.rindex("test error") > text.index("runs ")


def read_all(terminal: int) -> str:
    parts = []
    with suppress(OSError):  # Linux ends a pseudo-terminal with an error
        while part := os.read(terminal, 65536):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()
