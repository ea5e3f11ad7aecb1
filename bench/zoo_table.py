"""What `bench.zoo` found about each network: kept as JSON lines, and shown as a Markdown table."""

from __future__ import annotations

import datetime
import json
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssbench.training.device import name as device_name

KEPT = 0.5
"""The share of parameters that is asked for."""
METHODS: list[dict[str, Any]] = [
    {"name": "magnitude", "grain": "filter", "label": "filters"},
    {"name": "magnitude", "grain": "connection", "label": "connections"},
    {"name": "network-slimming", "label": "slimming"},
    {"name": "synaptic-strength", "label": "strength"},
]
_PARTS = ("torch", "torchvision", "timm", "torch-pruning", "fvcore")
_ABOUT = f"""\
Made by `uv run python -m bench.zoo --write bench/zoo.md`, which says what is done and what the
verdicts mean. MACs: multiply-adds of convolutions, linear layers and matrix products for one image;
they are those that torch's FlopCounterMode counts, or the network is wrong. Under a method:
parameters after surgery in percent where {100 * KEPT:.0f} were asked for. `filters` (magnitude)
and `slimming` prune whole filters; \\* marks a share that is only the nearest one, as one filter
more or less changes much: a layer leaves with its last filter, and with it all that lives by it.
`connections` (magnitude) and `strength` (synaptic strength) prune kernels of weights that have
hardly been trained; surgery takes out only channels that have none left, and where one threshold
for all layers takes all kernels of a layer, nothing but one channel of each layer is left (0.0).
A dash is a method that is refused before training, or that two steps on noise cannot try.
Difference: the largest of outputs before and
after surgery, relative to the largest output.
"""


def here() -> str:
    """With what a network is examined: versions and processor."""
    parts = [f"{part} {version(part)}" for part in _PARTS]
    return ", ".join(
        [*parts, f"Python {platform.python_version()}", device_name(torch.device("cpu"))]
    )


@dataclass
class Line:
    """What became of one network."""

    name: str
    verdict: str = "wrong"
    reason: str = ""
    pixels: int = 0
    params: int = 0
    macs: int = 0
    shares: dict[str, float | None] = field(default_factory=dict)
    """By method, the share of parameters after surgery; None: the method was refused."""
    off: list[str] = field(default_factory=list)
    """Methods for whole filters whose share after surgery is not the one that was asked for."""
    difference: float = 0.0
    """The largest that surgery made to the outputs, relative to the largest output."""
    seconds: float = 0.0
    day: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).date().isoformat())
    made_with: str = field(default_factory=here)


def read(table_file: Path) -> dict[str, Line]:
    """The lines that were kept beside a table, by network."""
    rows = table_file.with_suffix(".jsonl")
    if not rows.exists():
        return {}
    lines = [Line(**json.loads(row)) for row in rows.read_text(encoding="utf-8").splitlines()]
    return {line.name: line for line in lines}


def write(lines: Sequence[Line], table_file: Path) -> None:
    """Keep the lines, and write the table."""
    rows = "".join(f"{json.dumps(asdict(line))}\n" for line in lines)
    table_file.with_suffix(".jsonl").write_text(rows, encoding="utf-8")
    table_file.write_text(table(lines), encoding="utf-8")


def counted(lines: Iterable[Line]) -> str:
    """How many networks have each verdict."""
    counts = Counter(line.verdict for line in lines)
    verdicts = ("works", "partly", "refused", "wrong")
    said = ", ".join(f"{verdict} {counts[verdict]}" for verdict in verdicts)
    return f"{counts.total()} networks: {said}."


def table(lines: Sequence[Line]) -> str:
    """All networks as Markdown, with what was run."""
    labels = [each["label"] for each in METHODS]
    head = ["network", "pixels", "params", "MACs", *labels, "difference", "verdict", "reason"]
    rows = [head, ["---"] * len(head), *(_cells(line, labels) for line in lines)]
    made = sorted({f"{line.day}: {line.made_with}." for line in lines})
    return "\n".join(
        [
            "# One network of every family",
            "",
            counted(lines),
            "",
            _ABOUT,
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            *made,
            "",
        ]
    )


def _cells(line: Line, labels: Sequence[str]) -> list[str]:
    known = line.params > 0
    shares = [line.shares.get(label) for label in labels]
    return [
        line.name,
        f"{line.pixels}" if line.pixels else "-",
        f"{line.params:,}" if known else "-",
        f"{line.macs:,}" if known else "-",
        *(
            "-" if share is None else f"{100 * share:.1f}" + r"\*" * (label in line.off)
            for label, share in zip(labels, shares, strict=True)
        ),
        f"{line.difference:.0e}" if any(shares) else "-",
        line.verdict,
        line.reason.replace("|", r"\|"),
    ]
