"""Ctrl-C and SIGTERM: the epoch is finished and saved, in this process or in several."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from ssbench.data.folder_loader import FolderLoader
from ssbench.training.interrupt import STOP, Stopped
from tests.support.command_line import TINY, Ended, Invoke
from tests.support.pictures import make_pictures, opened
from tests.support.processes import EXPERIMENT, alive, ended, prepared, results, ssbench, weights

ASKS = '''
"""Asks the process that started its own to stop, in the second of three epochs, as a file says."""
import multiprocessing, os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Asks(Method):
    """Ask to stop."""
    grain = "weight"
    order: str = ""

    def after_step(self, model, progress):
        order = Path(self.order)
        trial = "ssbench.executors.processes.trial" in sys.modules
        if progress > 0.4 and order.exists() and not trial:
            names = order.read_text().split()
            order.unlink()
            for name in names:
                os.kill(multiprocessing.parent_process().pid, signal.Signals[name])
                time.sleep(0.2)  # of two that are pending Python handles the lower number first

    def scores(self, model):
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''


def asked(tmp_path: Path, tiny: Path, invoke: Invoke, *signals: str) -> tuple[Ended, Ended]:
    """Run until signals come, and again to the end."""
    (tmp_path / "asks.py").write_text(ASKS)
    order = tmp_path / "order"
    order.write_text(" ".join(signals))
    method = f'{{ name = "asks", order = "{order}", budget = {{ kept = 0.5 }} }}'
    text = TINY.replace("train = { epochs = 1", "train = { epochs = 3")
    tiny.write_text(text.split("methods =")[0] + f"methods = [{method}]\n")
    arguments = ("run", tiny, "--quiet", "--method-file", tmp_path / "asks.py")
    return invoke(*arguments), invoke(*arguments)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_epoch_is_saved_and_the_command_says_so_in_one_line(
    name: str, code: int, tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    first, second = asked(tmp_path, tiny, invoke, name)
    assert first.code == code
    assert first.err == (
        "stopped; saved: train, epoch 2 of 3, and finished stages: start again to continue\n"
    )
    assert first.out == ""
    assert (second.code, second.err) == (0, "")
    (path,) = Path("results/tiny").glob("*.jsonl")
    record = json.loads(path.read_text().splitlines()[0])
    assert (record["resumed"], len(record["curve_loss"])) == (1, 3)


def test_twice_ends_at_once(tmp_path: Path, tiny: Path, invoke: Invoke) -> None:
    first, second = asked(tmp_path, tiny, invoke, "SIGTERM", "SIGINT")
    assert first.code == 143  # the first one says why
    assert first.err == "stopped; finished stages are kept: start again to continue\n"
    assert second.code == 0


def test_outside_of_a_training_one_is_enough_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with STOP.signals(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert STOP.asked is None


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with STOP.signals():
            os.kill(os.getpid(), signal.SIGINT)
            assert STOP.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_request_that_nobody_answers_ends_behind_what_it_interrupted() -> None:
    did = []

    def nested() -> None:
        with STOP.deferred():
            with STOP.deferred():
                os.kill(os.getpid(), signal.SIGINT)
                did.append("inner")
            did.append("outer")

    with STOP.signals(), pytest.raises(Stopped):
        nested()
    assert did == ["inner", "outer"]


def test_what_can_end_at_once_does_so_although_others_wait() -> None:
    did = []

    def nested() -> None:
        with STOP.deferred():
            did.append("submitted")
            with STOP.at_once():
                os.kill(os.getpid(), signal.SIGINT)
                did.append("never")

    with STOP.signals(), pytest.raises(Stopped):
        nested()
    assert did == ["submitted"]


def test_a_wait_for_others_is_woken() -> None:
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))

    def waiting() -> None:
        with STOP.deferred():
            timer.start()
            assert wait(STOP.waits, timeout=30)
            timer.join()

    with STOP.signals(), pytest.raises(Stopped):
        waiting()


def test_in_another_thread_no_signal_is_handled() -> None:
    handlers = []

    def work() -> None:
        with STOP.signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_processes_that_read_images_go_on(tmp_path: Path) -> None:
    dataset, train = opened(make_pictures(tmp_path))
    batches = FolderLoader(train, dataset.normalisation, 1, workers=1).in_order()
    found = [next(batches)]
    (reader,) = multiprocessing.active_children()
    assert reader.pid
    for number in ("INT", "TERM", "HUP"):
        subprocess.run(["kill", f"-{number}", str(reader.pid)], check=True)  # as a scheduler does
        time.sleep(0.1)
    found += list(batches)
    assert len(found) == len(train)


HELD: list[object] = []


def fail_in_a_pass(root: Path) -> None:
    dataset, train = opened(root)
    HELD.append(loader := FolderLoader(train, dataset.normalisation, 2, workers=2))
    for _ in loader.in_order():
        sys.exit(4)


def test_a_process_of_several_ends_when_a_pass_over_images_fails(tmp_path: Path) -> None:
    root = make_pictures(tmp_path, classes=2, count=8)
    process = multiprocessing.get_context("fork").Process(target=fail_in_a_pass, args=(root,))
    process.start()
    process.join(100)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 4


READS = """
import sys
from pathlib import Path
from ssbench.data.registry import open_dataset
from ssbench.data.folder_loader import FolderLoader

root, ends = Path(sys.argv[1]), sys.argv[2]
dataset = open_dataset(f"imagefolder:{root}", root)
loader = FolderLoader(dataset.train, dataset.normalisation, 2, workers=2)
for images, _ in loader.in_order():
    if ends == "fault":
        raise ArithmeticError("in the middle of a pass")
"""


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ("fault", "ArithmeticError: in the middle of a pass"),
        ("image", "BadInputError: {}/train/class1/3.jpg: no image that can be read"),
    ],
)
def test_a_process_ends_when_a_pass_over_images_fails(ends: str, says: str, tmp_path: Path) -> None:
    """Regression: it waited for ever for readers that had not been told to end."""
    make_pictures(tmp_path, classes=2, count=8)
    if ends == "image":
        path = tmp_path / "train/class1/3.jpg"
        path.write_bytes(path.read_bytes()[:3000])
    command = [sys.executable, "-c", READS, str(tmp_path), ends]
    process = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert process.returncode == 1, process.stderr
    assert says.format(tmp_path) in process.stderr
    assert "DataLoader worker" not in process.stderr


LONG = EXPERIMENT.replace("train = { epochs = 1", "train = { epochs = 12")
LONG = LONG.replace("seeds = [0, 1]", "seeds = [0]").replace("kept = [0.5, 0.2]", "kept = [0.5]")


def under_way(folder: Path) -> subprocess.Popen[str]:
    """Start, and wait until two trainings have saved an epoch since then."""
    partial = folder / "results/.cache/partial"
    before = {path: path.stat().st_mtime_ns for path in partial.glob("[!u]*")}
    process = ssbench(folder, "--concurrency", "2", "--save-every", "0")
    deadline = time.monotonic() + 240
    new: set[str] = set()
    while len(new) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
        for path in partial.glob("[!u]*/record.json"):
            with suppress(FileNotFoundError):
                if path.parent.stat().st_mtime_ns != before.get(path.parent):
                    new.add(path.parent.name.rpartition("-")[0])
    return process


@pytest.mark.slow
@pytest.mark.exhaustive
def test_side_by_side_all_save_their_epoch_and_nothing_differs_at_the_end(tmp_path: Path) -> None:
    whole, broken = prepared(tmp_path / "whole", LONG), prepared(tmp_path / "broken", LONG)
    assert ended(ssbench(whole, "--concurrency", "2")) == (0, "")
    for number, to_all in (
        (signal.SIGINT, True),  # as a terminal does
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),  # as a scheduler does
    ):
        process = under_way(broken)
        (os.killpg if to_all else os.kill)(process.pid, number)
        code, err = ended(process)
        assert code == 128 + number
        assert err.count("train, epoch") == 2
        assert "Traceback" not in err
        gone(process.pid)
    assert results(broken) == {}  # nothing was taken for a failure
    assert ended(ssbench(broken, "--concurrency", "2")) == (0, "")
    assert results(broken) == results(whole)
    assert weights(broken) == weights(whole)


def gone(group: int) -> None:
    """Wait until all processes of a group have ended; python's own tracker does a moment later."""
    deadline = time.monotonic() + 60
    while alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_worker_that_alone_is_asked_to_end_is_replaced(tmp_path: Path) -> None:
    folder = prepared(tmp_path, LONG)
    process = under_way(folder)
    for worker in children(process.pid):
        if b"spawn_main" in Path(f"/proc/{worker}/cmdline").read_bytes():
            os.kill(worker, signal.SIGTERM)
    assert ended(process) == (0, "")
    found = results(folder)
    assert len(found) == 3
    assert all(run[-1]["status"] == "done" for run in found.values())
