"""Stop requests at any moment, also repeated: one line, and nothing is left running."""

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ssbench.cli import options
from ssbench.executors.coordinator import execute
from ssbench.executors.processes import pool
from ssbench.executors.protocol import Job, Message, Where
from ssbench.experiment.stage import Stage
from ssbench.storage.jsonl import dump
from ssbench.training.interrupt import STOP, Stopped
from tests.support.command_line import Invoke
from tests.support.paths import RECORDS
from tests.support.trials import CASES, Trial, Watch, ask, quietly


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        self.write("")


def test_a_terminal_that_is_closed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    console = options.log()
    monkeypatch.setattr(sys, "stderr", heard := io.StringIO())
    console.print("one")
    monkeypatch.setattr(sys, "stderr", Closed())
    console.print("two")
    monkeypatch.setattr(sys, "stderr", heard)
    console.print("three")
    assert heard.getvalue() == "one\nthree\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_every_command_ends_in_one_line(
    name: str, code: int, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.jsonl").write_text(dump(RECORDS))
    before = signal.getsignal(signal.SIGHUP)

    def asked(*_: object) -> None:
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(5)

    monkeypatch.setattr("ssbench.cli.report.render_folders", asked)
    ended = invoke("report", tmp_path)
    assert (ended.code, ended.err, ended.out) == (code, "stopped\n", "")
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_closed_terminal_saves_the_epoch(tmp_path: Path) -> None:
    trial = Trial(tmp_path, CASES["plain"])
    with pytest.raises(Stopped) as raised:
        trial.go(lambda *_: os.kill(os.getpid(), signal.SIGHUP))
    assert raised.value.signal == signal.SIGHUP
    assert raised.value.saved == ("train, epoch 1 of 4",)


class Asks:
    """Is asked to stop where nothing can be raised."""

    def __del__(self) -> None:
        ask()
        time.sleep(5)


def test_a_request_in_a_destructor_is_answered_later_and_without_a_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def later() -> None:
        asks = [Asks()]
        asks.clear()
        assert STOP.asked == signal.SIGINT
        STOP.check()

    before = sys.unraisablehook
    with pytest.raises(Stopped), STOP.signals():
        later()
    assert capfd.readouterr().err == ""
    assert sys.unraisablehook is before


class Stubborn:
    """A worker at a stage that is hard to end, and to whom the terminal's Ctrl-C goes on coming."""

    def __init__(self, ended: list[str]) -> None:
        self.stage: Stage | None = None
        self.lost = self.serves_once = False
        self.pipes = ()
        self.ended = ended

    def give(self, stage: Stage) -> None:
        self.stage = stage

    def message(self) -> Message:
        raise NotImplementedError

    def ask(self) -> None:
        ask()  # the second one: at once

    def dismiss(self) -> None:
        self.ended.append("told")

    def stop(self) -> None:
        ask()  # the third one, and more
        time.sleep(0.01)
        self.ended.append("gone")


def test_hammering_ctrl_c_leaves_no_worker_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, ended = Trial(tmp_path, CASES["plain"]), list[str]()
    two = Trial(tmp_path / "two", CASES["gates"])
    monkeypatch.setattr(pool, "Process", lambda _: Stubborn(ended))
    job = Job(trial.workbench, trial.store, Where(concurrency=2), cache=tmp_path / "cache")
    threading.Timer(0.2, ask).start()
    with pytest.raises(Stopped), STOP.signals():
        execute([*trial.runs, *two.runs], job, trial.results, Watch(trial.runs, quietly))
    assert ended == ["told", "told", "gone", "gone"]
