"""What a method cannot prune is said before training, in the record and beside the results."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import TINY, Invoke

pytest.importorskip("timm")

GROUPED = TINY.replace("vgg6", "timm:test_efficientnet_gn").replace("connection", "filter")
"""Its group norms count the channels that they read: 4 of 17 layers can be cut."""


def asking(tiny: Path, budget: str) -> Path:
    tiny.write_text(
        GROUPED.replace("budget = { kept = [0.5, 0.1], protection = 0.0 }", f"budget = {budget}")
    )
    return tiny


def test_a_budget_that_surgery_cannot_meet_is_refused_with_the_reason(
    tiny: Path, invoke: Invoke
) -> None:
    ended = invoke("run", asking(tiny, '{ unit = "params", kept = [0.5] }'))
    assert ended.code == 2
    assert "0.5 of params is out of reach for magnitude" in ended.err
    assert "13 layers (88.1% of params" in ended.err
    assert "group_norm needs all of it" in ended.err
    assert not Path("results").exists()


def test_what_is_out_of_reach_is_said_recorded_and_reported(tiny: Path, invoke: Invoke) -> None:
    path = asking(tiny, '{ unit = "params", kept = [0.98] }')
    said = invoke("run", path, "--dry-run").out
    assert "magnitude (filter) on timm:test_efficientnet_gn: 13 layers (88.1% of params" in said
    assert invoke("run", path).code == 0
    lines = [
        json.loads(line)
        for file in Path("results").rglob("*magnitude*.jsonl")
        for line in file.read_text().splitlines()
    ]
    for record in (line for line in lines if line["stage"] != "train"):
        assert record["layers_untouched"] == 13
        assert record["params_untouched"] == pytest.approx(0.881 * record["params_dense"], rel=1e-3)
        left = record["params_compact"] / record["params_dense"]
        assert record["budget_reached"] == pytest.approx(0.98, abs=0.001)
        # A squeezing layer has died: it keeps one channel, which counts for nothing.
        assert record["budget_reached"] <= left < record["budget_reached"] + 0.003
        assert record["budget_reached"] >= record["params_nonzero"] / record["params_dense"]
    assert invoke("report", "results").code == 0
    report = " ".join(Path("results/tiny/report.md").read_text().split())
    gap = "13 layers (88.1% of params, 95.0% of MACs)"
    assert f"Out of reach of magnitude (filter): {gap}" in report


def test_of_a_network_that_is_fully_supported_nothing_is_said(tiny: Path, invoke: Invoke) -> None:
    assert "cannot be pruned" not in invoke("run", tiny, "--dry-run").out
