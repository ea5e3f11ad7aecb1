"""The numbers that the documentation gives are those that are counted."""

import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from ssbench.models.registry import IMAGENET, MODELS, build
from ssbench.pruning.counting import count
from ssbench.storage.keys import Group
from ssbench.storage.schema import KEYS

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


@pytest.mark.parametrize("group", get_args(Group))
def test_the_tables_of_keys_are_those_of_the_schema(group: Group) -> None:
    if group:
        assert f"<!-- keys: {group} -->\n{KEYS.table(group)}\n<!-- end -->" in TEXT


def test_every_key_says_what_it_means() -> None:
    assert [name for name in KEYS.measured if not KEYS.about[name].meaning] == []
