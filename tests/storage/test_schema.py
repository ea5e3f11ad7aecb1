"""A new metric is one field of the schema and the line that measures it."""

import csv
import subprocess
import sys
from pathlib import Path

from tests.support.installed import installed, shell

FIELD = """
    answers: Count | None = key("a number for this test", "cost", csv="last", details=True)
"""
EVERYWHERE = """
import ssbench, sys
from ssbench.storage.schema import KEYS
print(*set(ssbench.load_results("out/tiny")["answers"]))
assert "| `answers` | a number for this test |" in KEYS.table("cost")
"""


def test_a_new_metric_touches_two_files(tmp_path: Path, tiny: Path) -> None:
    site = tmp_path / "site"
    environment = installed(site)
    before = {path: path.read_text() for path in site.rglob("*.py")}
    schema = site / "ssbench" / "storage" / "schema.py"
    schema.write_text(
        schema.read_text().replace("\n    devices: Count", FIELD + "    devices: Count")
    )
    stages = site / "ssbench" / "pipeline" / "stages.py"
    stages.write_text(
        stages.read_text().replace('"devices": jointly', '"answers": 42, "devices": jointly')
    )
    changed = [path.name for path, text in before.items() if path.read_text() != text]
    assert sorted(changed) == ["schema.py", "stages.py"]

    ran = shell(environment, tmp_path, "run", tiny, "--results", "out", "--quiet")
    assert ran.returncode == 0, ran.stderr
    folder = tmp_path / "out" / "tiny"
    lines = list(csv.DictReader((folder / "report.csv").read_text().splitlines()))
    assert {line["answers"] for line in lines if line["origin"] == "measured"} == {"42.0"}
    assert '"Answers"' in (folder / "report.html").read_text()
    assert "answers" in shell(environment, tmp_path, "show", "dense", "--results", "out").stdout
    read = subprocess.run(
        [sys.executable, "-c", EVERYWHERE], cwd=tmp_path, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert read.stdout.strip() == "42", read.stderr
