"""Executors by name; another package's runs a real experiment."""

from pathlib import Path

import pytest

from ssbench.errors import BadInputError
from ssbench.executors.protocol import Where
from ssbench.executors.registry import OURS, find
from tests.support.command_line import Invoke
from tests.support.processes import content

STACK = '''
"""Runs stages in this process; takes two, and begins with the last one."""
from ssbench.errors import BadInputError
from ssbench.executors.protocol import Executor
from ssbench.executors.stage_runner import StageRunner, run_stage

class Stack(Executor):
    def __init__(self, job, runs, report):
        self.report, self.stages = report, []
        self.runner = StageRunner(job.workbench, job.store)

    def room(self):
        return len(self.stages) < 2

    def submit(self, stage):
        self.stages.append(stage)

    def collect(self, seconds):
        stage = self.stages.pop()
        self.report(stage, run_stage(self.runner, stage, lambda each: self.report(stage, each)))

    def close(self):
        print("closed")

def no_executor(job):
    pass
'''
ENTRIES = """[ssbench.executors]
stack = stacked:Stack
function = stacked:no_executor
gone = not_there:Stack
"""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with executors on sys.path, with the metadata that installing it would write."""
    site = tmp_path / "site"
    metadata = site / "stacked-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "stacked.py").write_text(STACK)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stacked\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("_installed")
def test_another_packages_executor_runs_an_experiment(
    tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    here = invoke("run", tiny, "--quiet", "--results", tmp_path / "here")
    there = invoke("run", tiny, "--quiet", "--executor", "stack", "--results", tmp_path / "there")
    assert (here.code, there.code, there.out) == (0, 0, "closed\n")
    found = content(tmp_path / "there" / "tiny")
    assert len(found) >= 3
    assert found == content(tmp_path / "here" / "tiny")
    again = invoke("run", tiny, "--quiet", "--executor", "stack", "--results", tmp_path / "there")
    assert (again.code, again.out) == (0, "")  # nothing is left, so no executor starts


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("stak", "choose one of function, gone, local, processes, ray, stack"),
        ("gone", "not_there:Stack cannot be loaded (ModuleNotFoundError: No module named"),
        ("function", "stacked:no_executor is no subclass of ssbench.executors.protocol.Executor"),
    ],
)
def test_a_name_without_an_executor_is_refused(
    name: str, said: str, tiny: Path, invoke: Invoke
) -> None:
    refused = invoke("run", tiny, "--executor", name, "--dry-run")
    assert refused.code == 2
    assert f"--executor {name}: " in refused.err
    assert said in refused.err


@pytest.mark.usefixtures("_installed")
def test_an_option_that_an_executor_does_not_use_is_refused(tiny: Path, invoke: Invoke) -> None:
    refused = invoke("run", tiny, "--executor", "stack", "--concurrency", "2")
    assert refused.code == 2
    assert "--concurrency 2: --executor stack does not use it; leave it out" in refused.err


@pytest.mark.parametrize("name", OURS)
def test_each_executor_takes_what_it_says(name: str) -> None:
    executor = find(name)
    for option, value in {"concurrency": 2, "devices": 2, "address": "auto"}.items():
        where = Where(executor=name, dry_run=True, **{option: value})
        if option in executor.takes:
            executor.check(where)
        else:
            with pytest.raises(
                BadInputError, match=f"--{option} {value}: --executor {name} does not"
            ):
                executor.check(where)
