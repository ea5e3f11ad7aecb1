"""Where the checkout and its reference records are."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


REFERENCE = ROOT / "results" / "reference" / "quickstart"


OLD_REFERENCE = ROOT / "results" / "reference" / "lambda_sensitivity"
"""Records from before there were checksums."""


OLD = next(OLD_REFERENCE.glob("*network-slimming-0.1-seed10-*.jsonl"))


RECORDS = [json.loads(line) | {"format": 2} for line in OLD.read_text().splitlines()]
