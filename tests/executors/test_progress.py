"""Remaining work: runs that were finished before do not count."""

from pathlib import Path

from rich.console import Console

from ssbench.executors.progress import Quiet
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
