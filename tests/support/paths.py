"""Where the checkout and its reference records are."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


REFERENCE = ROOT / "results" / "reference" / "quickstart"


OLD = next(REFERENCE.glob("*magnitude-0.1-seed0-*.jsonl"))
"""Written before records had checksums."""


RECORDS = [json.loads(line) | {"format": 2} for line in OLD.read_text().splitlines()]
