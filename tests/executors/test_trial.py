"""Methods of one's own are tried before the first training, in a process of their own."""

from pathlib import Path

import pytest

from ssbench.executors.processes import trial
from ssbench.pipeline import precheck
from tests.support.command_line import TINY, Invoke

FILE = '''
"""Is tried."""
import os, time
from dataclasses import dataclass
from pathlib import Path
from ssbench.data.digits import file_of_digits
from ssbench.method import Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Own(Method):
    """Be tried."""
    grain = "weight"
    leaves_out = "all but the last layer"

    def scores(self, model, *, images):
        scores = {name: weight.abs() for name, weight in prunable_weights(model).items()}
        IN_SCORES
        return scores
'''


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precheck, "_trials", {})


def written(tiny: Path, code: str, budget: str = "kept = 0.5") -> Path:
    path = tiny.with_name("own.py")
    path.write_text(FILE.replace("IN_SCORES", code))
    own = f'{{ name = "own", budget = {{ {budget} }} }}'
    tiny.write_text(TINY[: TINY.index("methods")] + f'methods = [{{ name = "dense" }}, {own}]\n')
    return path


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ('raise ValueError("no batch norm")', "ValueError: no batch norm (own.py, line 17)"),
        ("os.kill(os.getpid(), 9)", "the worker process was killed by signal 9"),
        ("os._exit(0)", "the worker process ended with code 0 (the method, or a library"),
        ("file_of_digits().read_bytes()", "digits.csv.gz was opened while a method trains"),
        ("scores.clear()", "all scores are minus infinity, those of no layer first"),
    ],
)
def test_a_fault_is_told_before_the_first_training(
    code: str, reason: str, tiny: Path, invoke: Invoke
) -> None:
    path = written(tiny, code)
    told = invoke("run", tiny, "--method-file", path, "--dry-run")
    assert told.code == 1
    assert "models.0: vgg6: own: " in told.err
    assert reason in " ".join(told.err.split())


def test_the_others_go_on_and_the_record_has_the_reason(tiny: Path, invoke: Invoke) -> None:
    path = written(tiny, 'raise ValueError("no batch norm")')
    ended = invoke("run", tiny, "--method-file", path, "--quiet")
    assert ended.code == 1
    assert "own: ValueError: no batch norm" in ended.err
    own, dense = (Path("results/tiny").glob(f"*{name}*.jsonl") for name in ("own", "dense"))
    assert '"status":"failed"' in next(own).read_text().replace(": ", ":")
    assert '"status":"done"' in next(dense).read_text().replace(": ", ":")


def test_a_share_out_of_reach_of_the_layers_that_it_scores_is_refused(
    tiny: Path, invoke: Invoke
) -> None:
    path = written(
        tiny,
        "last = list(scores)[-1]; scores = {last: scores[last]}",
        'unit = "params", kept = 0.1',
    )
    refused = invoke("run", tiny, "--method-file", path, "--dry-run")
    assert refused.code == 2
    assert "0.1 of params is out of reach for own" in refused.err
    assert "the method has no score for it" in refused.err


def test_a_trial_that_takes_too_long_shows_nothing(
    tiny: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SECONDS", 1.0)
    path = written(tiny, "time.sleep(1000)")
    assert invoke("run", tiny, "--method-file", path, "--dry-run").code == 0
