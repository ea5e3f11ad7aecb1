"""What the documentation says is so: numbers are counted, files exist, pictures are new."""

import re
from pathlib import Path
from typing import get_args

import pytest
import torch

import ssbench
from docs import draw_architecture as drawing
from docs.generate import BLOCKS, filled
from ssbench.models.registry import IMAGENET, MODELS, build
from ssbench.pruning.counting import count
from ssbench.storage.keys import Group
from ssbench.storage.schema import KEYS
from tests.support.markdown import PAGES, links, paths
from tests.support.paths import ROOT
from tests.test_architecture import MAY_IMPORT

TEXT = (ROOT / "docs" / "metrics.md").read_text()
BASES = (ROOT, ROOT / "ssbench")
A_USERS = {"methods/my_method.py"}
"""Paths in the text that a user is to write."""
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


@pytest.mark.parametrize("page", BLOCKS)
def test_derived_blocks_are_those_of_the_code(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert text == filled(page, text), "uv run python -m docs.generate"


def test_every_key_says_what_it_means() -> None:
    assert [name for name in KEYS.measured if not KEYS.about[name].meaning] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_and_named_files_exist(page: Path) -> None:
    """Paths in code count from the repository or from `ssbench/`."""
    assert [link for link in links(page) if not (page.parent / link).exists()] == []
    named = [path for path in paths(page) if path not in A_USERS]
    assert [path for path in named if not any((base / path).exists() for base in BASES)] == []


def test_the_picture_and_the_table_of_rooms_are_those_of_the_import_table() -> None:
    remedy = "uv run python -m docs.generate"
    assert drawing.PICTURE.read_text() == drawing.svg(MAY_IMPORT), remedy
    assert drawing.PAGE.read_text() == drawing.page(drawing.PAGE.read_text(), MAY_IMPORT), remedy


def test_data_in_the_picture_go_where_an_import_allows() -> None:
    for start, end, _ in drawing.FLOW:
        if start and end:
            assert end in MAY_IMPORT[start] or start in MAY_IMPORT[end], (start, end)


def test_a_new_room_changes_the_picture() -> None:
    more = {**MAY_IMPORT, "attic": {"cli"}}
    assert drawing.depths(more)["attic"] == max(drawing.depths(MAY_IMPORT).values()) + 1
    assert ("attic", "cli") in drawing.arrows(more)
    assert ">attic<" in drawing.svg(more)


def test_common_changes_have_a_line() -> None:
    page = drawing.PAGE.read_text().partition("## I want to")[2]
    assert len(re.findall(r"^\| ", page, re.MULTILINE)) > 10
    for question in ("training loop", "caption", "budget is met"):
        assert re.search(rf"^\| change [^|]*{question}", page, re.MULTILINE), question


def test_commits_and_the_checks_run_the_same_lint() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"entry: (.+)", hooks)
    checks = re.findall(r"^uv run (?:ruff|mypy).*", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert entries == checks


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {ssbench.__version__}\n" in citation
    assert f'"{ssbench.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_site_has_every_page() -> None:
    """What lies outside docs/ comes from docs/site_pages.py, which imports mkdocs."""
    listed = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    elsewhere = re.findall(r'\.md": "([\w-]+\.md)"', (ROOT / "docs/site_pages.py").read_text())
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(listed) == sorted([*pages, *elsewhere])
