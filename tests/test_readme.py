"""README shows measured numbers, and .ci/run runs the command that README gives."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_line_of_the_table_stands_in_the_reference_report() -> None:
    report = (ROOT / "results/reference/quickstart/report.md").read_text().splitlines()
    top = README.split("\n## ")[0]
    lines = [line for line in top.splitlines() if line.startswith("| ")]
    assert len(lines) > 10
    assert set(lines) <= set(report)


def test_the_checks_run_the_documented_command() -> None:
    assert "    uv run pytest " in README
    assert "uv run pytest\n" in (ROOT / ".ci/run").read_text()


def test_linked_files_exist() -> None:
    for part in README.split("](")[1:]:
        assert (ROOT / part.split(")")[0]).exists(), part
