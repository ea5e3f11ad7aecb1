"""A run that fails is recorded with its reason; the others go on; the exit code is 1."""

import json
from pathlib import Path

from tests.conftest import TINY, Invoke

RAISES = '''
"""Fails when it scores."""
from dataclasses import dataclass
from ssbench.method import Method

@dataclass(frozen=True, kw_only=True)
class Raises(Method):
    """Fail."""
    grain = "connection"
    how: str = "error"

    def scores(self, model):
        if self.how == "memory":
            raise MemoryError("no room")
        if self.how == "nan":
            from ssbench.method import prunable_weights
            return {name: weight * float("nan") for name, weight in prunable_weights(model).items()}
        raise RuntimeError("<b>cannot</b> score_this")
'''


def last(folder: Path, part: str) -> dict[str, object]:
    (path, *_) = sorted(folder.glob(f"*{part}*.jsonl"))
    record: dict[str, object] = json.loads(path.read_text().splitlines()[-1])
    return record


def test_a_method_that_raises_fails_alone(tmp_path: Path, tiny: Path, invoke: Invoke) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    how = '{ name = "raises", how = ["error", "memory", "nan"], budget = { kept = 0.5 } }, '
    tiny.write_text(TINY.replace('{ name = "magnitude"', how + '{ name = "magnitude"'))
    arguments = ("run", tiny, "--method-file", tmp_path / "raises.py")
    ended = invoke(*arguments)
    assert ended.code == 1
    folder = Path("results/tiny")
    found = [json.loads(p.read_text().splitlines()[-1]) for p in folder.glob("*raises*.jsonl")]
    reasons = " ".join(str(record["reason"]) for record in found)
    assert all(record["status"] == "failed" for record in found)
    assert "RuntimeError: <b>cannot</b> score_this (raises.py, line" in reasons
    assert "out of memory (no room)" in reasons
    assert "NaN" in reasons
    assert last(folder, "magnitude")["status"] == "done"
    page = (folder / "report.html").read_text()
    assert "&lt;b&gt;cannot&lt;/b&gt; score_this" in page
    assert "<b>cannot" not in page
    assert "failed" in ended.out

    again = invoke(*arguments)  # kept as they are
    assert again.code == 1
    assert "--retry-failed" in again.err
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.jsonl")}
    assert invoke(*arguments, "--retry-failed").code == 1
    changed = {path.name for path, then in before.items() if path.stat().st_mtime_ns != then}
    assert len(changed) == 3  # the failed runs were tried again, the others were not
    assert all("raises" in name for name in changed)


def test_a_training_that_diverges_fails_with_all_that_build_on_it(
    tiny: Path, invoke: Invoke
) -> None:
    tiny.write_text(TINY.replace("lr = 0.05", "lr = 1e30"))
    ended = invoke("run", tiny)
    assert ended.code == 1
    folder = Path("results/tiny")
    paths = sorted(folder.glob("*.jsonl"))
    assert len(paths) == 3
    for path in paths:
        record = json.loads(path.read_text().splitlines()[-1])
        assert record["status"] == "failed"
        assert record["stage"] == "train"
        assert "diverged: the training loss is" in record["reason"]
        assert record["diverged_epoch"] == 1
        assert record["test_top1_error"] is None
    assert (folder / "report.md").read_text().count(" | train | 1 | train: diverged: ") == 3
