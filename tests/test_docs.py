"""The numbers that the documentation gives are those that are counted."""

import re
from pathlib import Path

import pytest
import torch

from ssbench.models.registry import IMAGENET, MODELS, build
from ssbench.pipeline import record
from ssbench.pruning.counting import count

TEXT = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text()
ROWS = re.findall(
    r"^\| ([\w-]+) \| (\d+) x (\d+) x (\d+)" + 3 * r" \| ([\d,]+)" + r" \|",
    TEXT,
    re.MULTILINE,
)


def test_every_network_has_a_line() -> None:
    assert {row[0] for row in ROWS} == {*MODELS, *IMAGENET}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_documented_sizes_are_counted_ones(row: tuple[str, ...]) -> None:
    name, channels, height, width, *sizes = row
    model = build(name, int(channels), 1000 if name in IMAGENET else 10)
    found = count(model, torch.zeros(1, int(channels), int(height), int(width)))
    expected = [int(size.replace(",", "")) for size in sizes]
    assert [found.params, found.connections, found.macs] == expected


def test_listed_networks_are_those_that_are_built() -> None:
    with torch.device("meta"):  # no weights are drawn
        built = {name: build(name, facts.channels, 10) for name, facts in MODELS.items()}
        built |= {name: build(name, 3, 1000) for name in IMAGENET}
    params = {name: sum(p.numel() for p in model.parameters()) for name, model in built.items()}
    assert params == {name: facts.params for name, facts in (MODELS | IMAGENET).items()}


def test_every_measured_key_is_explained() -> None:
    explained = set(re.findall(r"`([a-z0-9_]+)`", TEXT))
    units = {f"{unit}_compact" for unit in ("params", "connections", "macs")}
    suffixed = {"norm_ops_compact", "pool_ops_compact"}
    errors = {f"validation_{what}" for what in ("loss", "top1_error", "top5_error")}
    facts = {"train_images", "validation_images", "test_images", "image_shape", "classes", "mean",
             "sd", "device", "device_name", "threads", "versions", "commit", "time"}  # fmt: skip
    measured = set(record._MEASURED) - units - suffixed - errors - facts
    assert measured <= explained
