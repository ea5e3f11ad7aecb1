"""The script that measures everything on a GPU: its rows, and a part that fails."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.perf import gpu


def rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", *more])
    gpu.main()
    return capsys.readouterr().out


def test_a_part_that_fails_keeps_none_of_the_others_from_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Namespace, __: torch.device) -> Iterator[gpu.Row]:
        yield gpu.Row("first", "1")
        raise ValueError("a | b")

    monkeypatch.setitem(gpu.PARTS, "repeats", (broken, 10))
    found = rows(monkeypatch, capsys, "--only", "repeats", "precision")
    assert "| `repeats` | first | 1 |\n| `repeats` | failed | ValueError: a / b |\n" in found
    assert found.count("| `precision` | largest relative error of ") == 2


@pytest.mark.exhaustive
def test_every_part_has_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = rows(monkeypatch, capsys, "--json", str(tmp_path / "rows.json"))
    assert "failed" not in found
    for part in gpu.PARTS:
        assert f"\n| `{part}` | " in found
