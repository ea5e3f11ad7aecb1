"""A killed process loses at most the current stage, and changes no result."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.perf.faults import Victim, faults
from tests.support.processes import results, stage_folders, weights

EXPERIMENT = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = [0.5, 0.05], protection = 0.0 }
train = { epochs = 2, lr = 0.05, schedule = "one-cycle", shift = 1 }
finetune = { epochs = 2, lr = 0.02, schedule = "one-cycle", shift = 1 }
methods = [
    { name = "synaptic-strength", lambda = 1e-3 },
    { name = "l0", budget = { unit = "params" } },
    { name = "random" },
]
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ssbench", "run", "kill.toml", "--quiet"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_killed_again_and_again_the_records_are_bit_identical(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        (folder / "kill.toml").write_text(EXPERIMENT)
    process = start(whole)
    assert process.wait() == 0, process.stderr and process.stderr.read()
    if process.stderr:
        process.stderr.close()

    kills = 0
    for wait in (0.1, 0.45, 0.8, 0.02, 0.3):
        before = stage_folders(broken)
        process = start(broken)
        deadline = time.monotonic() + 60
        while process.poll() is None and len(stage_folders(broken)) < len(before) + 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if process.stderr:
            process.stderr.close()
        # What was finished before is finished still: at most the stage under way is lost.
        assert stage_folders(broken) >= before
        for path in (broken / "results").rglob("*.jsonl"):
            assert [json.loads(line) for line in path.read_text().splitlines()]
    assert kills >= 3

    process = start(broken)
    assert process.wait() == 0, process.stderr and process.stderr.read()
    if process.stderr:
        process.stderr.close()
    assert len(results(whole)) == 6
    assert results(broken) == results(whole)
    assert weights(broken) == weights(whole)
    leftovers = list((broken / "results" / ".cache" / "stages").glob("unfinished-*"))
    assert leftovers == []


@pytest.mark.slow
def test_an_interrupt_says_that_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "kill.toml").write_text(EXPERIMENT)
    process = start(tmp_path)
    deadline = time.monotonic() + 60
    while not stage_folders(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"start again to continue" in err
    assert b"Traceback" not in err


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("concurrency", [1, 2])
def test_twenty_kills_at_random_moments_lose_nothing_that_was_saved(
    concurrency: int, tmp_path: Path
) -> None:
    whole = Victim(tmp_path / "whole", "quickstart", [])
    whole.finish()
    found = faults(tmp_path / "broken", whole.results(), 20, concurrency)
    assert found.kills == 20
    assert len(found.states) >= 2
    lost = (found.lost_runs, found.lost_stages, found.lost_epochs, found.torn, found.differing)
    assert lost == (0, 0, 0, 0, 0)
